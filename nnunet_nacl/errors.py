"""The one exception that means: the input is at fault, and the message says how to mend it; and how others are quoted."""


class InputError(ValueError):
    """Unusable input. The command line prints the message on one line and exits with status 1, without a traceback."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, or its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
