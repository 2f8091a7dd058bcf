"""The exception for bad input. Its message is one sentence: what was given, what was expected and what to do."""


class MinihireError(Exception):
    """Base class of all errors raised for bad input. The command line prints the message and exits with code 2."""
