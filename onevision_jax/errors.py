"""The one exception a user is meant to read."""


class InputError(ValueError):
    """Input that cannot be used as given.

    The message is one sentence: the file, field or value at fault, what was expected, and the
    remedy. The command line prints it without a traceback and exits with 1.
    """
