"""The one exception that users see: a sentence that says what was given, what was expected and what to do."""


class MinihireError(Exception):
    """Base of every error raised for bad input; the command line prints it without a traceback and exits with 2."""
