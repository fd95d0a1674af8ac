"""The frame of the command line: help, usage errors, exit codes, quiet."""

import errno
import logging
import os
import subprocess
import sys
import types
import warnings

import pytest

from onevision_jax.cli import main as frame
from onevision_jax.cli.failure import describe
from onevision_jax.errors import InputError

VERB_NAMES = [name for name, _ in frame.VERBS]
CALL = "import sys; from onevision_jax.cli.main import main; sys.exit(main({}))"


def run_python(code, **settings):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)


@pytest.fixture
def verb(monkeypatch):
    """Install a verb `trial` whose `run` is the given function."""

    def install(run):
        def register(subparsers):
            parser = subparsers.add_parser("trial")
            parser.add_argument("--checkpoint", required=True)
            parser.add_argument("--layout", choices=("hub", "transformers"))
            parser.add_argument("-n", type=int)

        module = types.SimpleNamespace(register=register, run=run)
        monkeypatch.setitem(sys.modules, "onevision_jax.cli.trial", module)
        monkeypatch.setattr(frame, "VERBS", (*frame.VERBS, ("trial", "a verb of the tests")))
        return lambda *words: frame.main(["trial", "--checkpoint", "x", *words])

    return install


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in VERB_NAMES)])
def test_help_is_light(words):
    heavy = "{'jax', 'numpy', 'rich', 'onevision_jax.types'}"
    done = run_python(
        "import sys; from onevision_jax.cli.main import main; "
        f"code = main({words}); print({heavy} & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert "example" in done.stdout
    assert f"onevision {words[0]}" in done.stdout or words == ["--help"]


def test_help_lists_every_verb(capsys):
    assert frame.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown and summary in shown for name, summary in frame.VERBS)


def test_no_verb_shows_the_help(capsys):
    assert frame.main([]) == 2
    assert "usage: onevision" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["docter"], "did you mean doctor?"),
        (["doctor", "--jsn"], "there is no option --jsn; did you mean --json?"),
        (["doctor", "-json"], "did you mean --json?"),
        (["doctor", "--deb"], "there is no option --deb"),
        (["--verson"], "did you mean --version?"),
        (["zzz"], "'zzz' is none of "),
        (["doctor", "extra"], "unrecognized arguments: extra"),
        # Found before the required option is missed:
        (["trial", "--chekpoint", "x"], "did you mean --checkpoint?"),
        (["trial", "--chekpoint=x"], "did you mean --checkpoint?"),
        (["trial"], "required: --checkpoint"),
        (["trial", "--checkpoint", "x", "--layout", "hubb"], "did you mean hub?"),
        (["trial", "--checkpoint", "x", "-n", "many"], "invalid int value: 'many'"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(words, answer, verb, capsys):
    verb(lambda args: 0)
    assert frame.main(words) == 2
    shown = capsys.readouterr().err
    assert answer in shown
    assert shown.count("\n") == 1


def test_values_that_look_like_options_pass(verb):
    seen = []
    call = verb(lambda args: seen.append(args) or 0)
    assert call("-n", "-3") == 0
    assert call("-n5") == 0
    assert [args.n for args in seen] == [-3, 5]
    assert frame.main(["trial", "--checkpoint", "--a value with spaces"]) == 0


@pytest.fixture
def configured(monkeypatch):
    """A verb `trial` with --config and an option of its own; returns what `run` was given."""
    seen = []

    def register(subparsers):
        parser = subparsers.add_parser("trial")
        parser.add_config()
        parser.add_argument("--workdir", required=True)

    module = types.SimpleNamespace(register=register, run=lambda args: seen.append(args) or 0)
    monkeypatch.setitem(sys.modules, "onevision_jax.cli.trial", module)
    monkeypatch.setattr(frame, "VERBS", (*frame.VERBS, ("trial", "a verb of the tests")))
    return seen


def test_overrides_of_a_config_file_are_taken_in_order(configured):
    words = ["--config.a.b=-3 4", "--config", "c.py", "--config.a.b=x=y", "--workdir", "d"]
    assert frame.main(["trial", *words]) == 0
    assert frame.main(["trial", "--config=c.py", "--workdir", "d"]) == 0
    assert [args.overrides for args in configured] == [["a.b=-3 4", "a.b=x=y"], []]
    assert {args.config for args in configured} == {"c.py"}


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--config.a", "3"], "--config.a has no value; write --config.KEY=VALUE"),
        (["--config.=3"], "--config.=3 has no value"),
        (["--confg", "c.py"], "there is no option --confg; did you mean --config?"),
        (["--confg.a=3"], "there is no option --confg.a"),
        (["--wrkdir=d"], "did you mean --workdir?"),
        (["--config.a=3", "--workdir", "d"], "required: --config"),
    ],
)
def test_bad_words_beside_overrides_are_one_line(words, answer, configured, capsys):
    assert frame.main(["trial", *words]) == 2
    shown = capsys.readouterr().err
    assert answer in shown
    assert shown.count("\n") == 1
    assert not configured


def test_verbs_without_a_config_file_know_no_overrides(verb, capsys):
    verb(lambda args: 0)
    assert frame.main(["trial", "--checkpoint", "x", "--config.a=3"]) == 2
    assert "there is no option --config.a" in capsys.readouterr().err


def test_debug_is_accepted_before_and_after_the_verb(verb, capsys):
    def fail(args):
        assert args.debug
        raise InputError("the field is wrong")

    call = verb(fail)
    assert call("--debug") == 1
    assert frame.main(["--debug", "trial", "--checkpoint", "x"]) == 1
    assert capsys.readouterr().err.count("Traceback") == 2


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (InputError("config.json: model_type is llava"), 1, "config.json: model_type is llava"),
        (FileNotFoundError(errno.ENOENT, "gone", "/a/b"), 1, "/a/b does not exist"),
        (PermissionError(errno.EACCES, "no", "/a"), 1, "cannot open /a: permission denied"),
        (OSError(errno.ENOSPC, "full", "/a"), 1, "cannot write /a: the disk is full"),
        (OSError(errno.EROFS, "ro", "/a"), 1, "the file system is read-only"),
        (OSError(errno.ECONNREFUSED, "Connection refused"), 1, "Connection refused"),
        (MemoryError(), 1, "out of memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), 1, "out of memory"),
        (ZeroDivisionError("by zero"), 1, "internal error (ZeroDivisionError: by zero)"),
        (ValueError(""), 1, "internal error (ValueError"),
        (AssertionError("a\nb"), 1, "run again with --debug"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (SystemExit("text"), 1, ""),
        (BrokenPipeError(errno.EPIPE, "pipe"), 141, ""),
    ],
)
def test_every_failure_is_one_sentence_and_a_code(error, code, sentence, verb, capsys):
    def fail(args):
        raise error

    assert verb(fail)() == code
    shown = capsys.readouterr().err
    assert sentence in shown
    assert shown.count("\n") == (1 if sentence else 0)
    assert "Traceback" not in shown


def test_words_of_the_system_inside_other_errors_are_understood():
    # Verbatim from Orbax (tensorstore) and safetensors on a full tmpfs of 1 MiB.
    orbax = ValueError(
        'RESOURCE_EXHAUSTED: Failed writing: "/a/ocdbt/d/5": Failed to write 2657286 bytes to '
        "file 11: No space left on device [os_error_code='28']"
    )
    tensors = RuntimeError("Error while serializing: I/O error: No space left on device")
    assert describe(orbax).startswith("cannot write /a/ocdbt/d/5: the disk is full")
    assert describe(tensors).startswith("cannot write the output: the disk is full")


def test_libraries_are_quiet_unless_debugging(verb, capsys, caplog):
    def chatter(args):
        warnings.warn("old name", DeprecationWarning, stacklevel=1)
        logging.getLogger("orbax").warning("saving slowly")
        return 0

    call = verb(chatter)
    assert call() == 0
    assert capsys.readouterr().err == ""
    assert not caplog.records
    with pytest.warns(DeprecationWarning, match="old name"):
        assert call("--debug") == 0
    assert [record.message for record in caplog.records] == ["saving slowly"]
    assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_under_stdout_is_one_sentence():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", CALL.format(["doctor", "--json"])]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("onevision: cannot write the output: the disk is full")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_error():
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-c", CALL.format(["doctor"])]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")
