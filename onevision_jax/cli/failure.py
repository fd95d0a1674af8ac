"""What a user reads when a verb fails, and what the shell gets as exit code."""

import errno
import re
import sys
import traceback

from onevision_jax.errors import InputError

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT and 128 + SIGPIPE, as shells count.
PIPE_CLOSED = 141

# errno -> sentence; {file} is the path the system named, if it named one.
SENTENCES = {
    errno.ENOSPC: "cannot write {file}: the disk is full; free some space or choose another place",
    errno.EDQUOT: "cannot write {file}: your quota is used up; free some space or write elsewhere",
    errno.EROFS: "cannot write {file}: the file system is read-only; choose another place",
    errno.EACCES: "cannot open {file}: permission denied; change its permissions or choose another",
    errno.EPERM: "cannot change {file}: not permitted; choose another place",
    errno.ENOENT: "{file} does not exist; check the path",
    errno.EISDIR: "{file} is a folder where a file is expected; name the file",
    errno.ENOTDIR: "{file} is not a folder; check the path",
    errno.EEXIST: "{file} exists already; choose another name or remove it",
    errno.ENOTEMPTY: "the folder {file} is not empty; choose another",
    errno.EMFILE: "too many open files; raise the limit with ulimit -n",
}
# Libraries that write through C++ raise their own errors and quote the system's words in them.
QUOTED = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Read-only file system": errno.EROFS,
    "Permission denied": errno.EACCES,
}
QUOTED_PATH = re.compile(r'"(/[^"]+)"')


def describe_system_error(error: OSError) -> str:
    """One sentence for an error of the operating system, with the file it names."""
    file = "the output" if error.filename is None else str(error.filename)
    if error.errno in SENTENCES:
        return SENTENCES[error.errno].format(file=file)
    reason = error.strerror or str(error) or type(error).__name__
    return reason if error.filename is None else f"{file}: {reason}"


def describe(error: BaseException) -> str:
    """One sentence without a traceback: what is wrong and what to do about it."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        return describe_system_error(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = str(error)
    for words, number in QUOTED.items():
        if words in text:
            path = QUOTED_PATH.search(text)
            return SENTENCES[number].format(file=path[1] if path else "the output")
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return "out of memory; use a smaller batch, shorter sequences or more devices"
    first_line = text.strip().split("\n", 1)[0]
    kind = type(error).__name__
    return f"internal error ({kind}: {first_line}); run again with --debug to see where"


def report_failure(error: BaseException, debug: bool) -> int:
    """Print the sentence (and with `debug` the traceback) on stderr and return the exit code."""
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED  # `onevision ... | head` has read enough: no complaint.
    if debug:
        traceback.print_exception(error)
    print(f"onevision: {describe(error)}", file=sys.stderr)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
