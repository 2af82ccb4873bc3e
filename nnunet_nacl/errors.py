"""The one exception that means: the input is at fault, and the message says how to mend it."""


class InputError(ValueError):
    """Unusable input. The command line prints the message on one line and exits with status 1, without a traceback."""
