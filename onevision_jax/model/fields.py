"""Typed reading of the JSON files of a model folder, so that a fault names its file and field."""

import dataclasses
import json
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Section:
    """One JSON object. A field that is null counts as missing, as transformers writes both."""

    fields: Mapping[str, Any]
    source: str  # the file, for messages
    prefix: str = ""  # what stands before a field's name in messages: "vision_config."

    @classmethod
    def read(cls, path: Path) -> "Section":
        """A file; raises InputError when it is missing or no JSON object."""
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path} does not exist; give a folder with a {path.name}") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror})") from None
        except (ValueError, RecursionError) as error:  # Neither UTF-8, nor JSON.
            raise InputError(f"{path} is not valid JSON ({error}); fetch the file again") from None
        if not isinstance(fields, dict):
            raise InputError(f"{path} must hold a JSON object, not a {type(fields).__name__}")
        return cls(fields, str(path))

    def __contains__(self, name: str) -> bool:
        return self.fields.get(name) is not None

    def section(self, name: str) -> "Section":
        """The object in a field, empty where there is none."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise self.wrong(name, "a JSON object")
        return Section(value or {}, self.source, f"{self.prefix}{name}.")

    def integer(self, name: str, default: int, least: int = 1) -> int:
        """A whole number of at least `least`."""
        value = self._get(name, default)
        if not _is_integer(value) or value < least:
            raise self.wrong(name, f"a whole number of {least} or more")
        return value

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """A list of whole numbers, none negative."""
        value = self._get(name, list(default))
        if not isinstance(value, list) or not all(_is_integer(v) and v >= 0 for v in value):
            raise self.wrong(name, "a list of whole numbers")
        return tuple(value)

    def number(self, name: str, default: float) -> float:
        """A number above zero."""
        value = self._get(name, default)
        if not _is_number(value) or value <= 0:
            raise self.wrong(name, "a number above 0")
        return float(value)

    def numbers(self, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """As many numbers as the default has, or one that stands for all of them."""
        value = self._get(name, list(default))
        values = value if isinstance(value, list) else [value] * len(default)
        if len(values) != len(default) or not all(map(_is_number, values)):
            raise self.wrong(name, f"{len(default)} numbers")
        return tuple(float(v) for v in values)

    def flag(self, name: str) -> bool | None:
        """true, false, or None where it is not said."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def only(self, name: str, *supported: Any) -> None:
        """Refuses a field that says anything else than what is supported."""
        if name in self and self.fields[name] not in supported:
            raise self.wrong(name, f"only {' or '.join(map(reprlib.repr, supported))} is supported")

    def wrong(self, name: str, expected: str) -> InputError:
        """The error to raise for a field: what it is, and what it should be."""
        says = expected if expected.startswith("only ") else f"expected {expected}"
        value = reprlib.repr(
            self.fields[name]
        )  # A stranger's file may hold anything of any length.
        return InputError(f"{self.source}: {self.prefix}{name} is {value}, {says}")

    def _get(self, name: str, default: Any) -> Any:
        return self.fields[name] if name in self else default


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
