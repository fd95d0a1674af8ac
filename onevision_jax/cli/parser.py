"""An argument parser that answers a misspelling with the word that was meant."""

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import Any, NoReturn

NUMBER = re.compile(r"-\d|-\.\d")
CONFIG = "--config"


def did_you_mean(word: str, known: Iterable[Any]) -> str:
    """`; did you mean X?` for the known word closest to `word`, or nothing if none is close."""
    by_name = {str(name).lstrip("-"): str(name) for name in known}
    close = difflib.get_close_matches(word.lstrip("-"), by_name, n=1)
    return f"; did you mean {by_name[close[0]]}?" if close else ""


class Parser(argparse.ArgumentParser):
    """`argparse` with one-line errors, no abbreviations, and `--debug` accepted anywhere.

    Usage errors exit with 2. Parsers made by `add_subparsers` are of this class too.
    """

    def __init__(self, **settings: Any):
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)
        # SUPPRESS: a verb's parser that did not see the flag must not undo the root's.
        self.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show tracebacks and the libraries' own warnings",
        )

    def add_config(self) -> None:
        """Adds `--config FILE` (args.config) and `--config.a.b=value` (args.overrides, in order).

        The overrides come out as "a.b=value"; `onevision_jax.config.load` knows what they mean.
        """
        self.add_argument(
            CONFIG, required=True, metavar="C", help="config file, such as configs/sft_debug.py"
        )
        self.add_argument(
            f"{CONFIG}.KEY=VALUE",
            dest="overrides",
            action="store_true",
            help="change one setting of the file; repeat for several (a.b names b inside a)",
        )

    def error(self, message: str) -> NoReturn:
        """Exit with 2 after one line on stderr."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    # typeshed spells this method as three overloads; the behaviour is theirs.
    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        """Reject unknown options here, in the parser that knows the right ones.

        A verb's options are checked before parsing: else a misspelt required option would be
        reported as missing. With nested verbs the words are known only after parsing.
        """
        overrides: list[str] = []
        if args is not None and CONFIG in self._option_string_actions:
            args, overrides = self._take_overrides(args)
        if args is not None and self._subparsers is None:
            self._reject_unknown(args)
        namespace, rest = super().parse_known_args(args, namespace)
        if CONFIG in self._option_string_actions:
            namespace.overrides = overrides
        self._reject_unknown(rest)
        return namespace, rest

    def _take_overrides(self, words: Iterable[str]) -> tuple[list[str], list[str]]:
        """The other words, and the overrides without their `--config.`."""
        others, overrides = list(words), []
        end = others.index("--") if "--" in others else len(others)
        for word in others[:end]:
            if not word.startswith(f"{CONFIG}."):
                continue
            if "=" not in word or word.startswith(f"{CONFIG}.="):
                self.error(f"{word} has no value; write {CONFIG}.KEY=VALUE")
            overrides.append(word.removeprefix(f"{CONFIG}."))
        kept = [word for word in others[:end] if not word.startswith(f"{CONFIG}.")]
        return kept + others[end:], overrides

    def _reject_unknown(self, words: Iterable[str]) -> None:
        for word in words:
            if word == "--":
                return
            name = word.split("=", 1)[0]
            # As argparse has it, a word with a space is a value, and so is a number or a dash.
            if not name.startswith("-") or " " in word or name == "-" or NUMBER.match(name):
                continue
            known = self._option_string_actions
            if name not in known and name[:2] not in {o for o in known if not o.startswith("--")}:
                self.error(f"there is no option {name}{did_you_mean(name, known)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = ", ".join(map(str, action.choices))
            hint = did_you_mean(str(value), action.choices)
            raise argparse.ArgumentError(action, f"{value!r} is none of {names}{hint}")
