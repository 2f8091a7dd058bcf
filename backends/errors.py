"""The error that backends raise."""


class BackendError(ValueError):
    """A backend that is unknown or cannot be imported, lacks what was requested, or is used in a way that it cannot serve."""
