"""Arithmetic with numbers on backend arrays, outside of the tape."""

from backends.interface import Array, Backend


def times(k: Backend, x: Array, factor: float, plus: float = 0.0) -> Array:
    """factor·x + plus, with a kernel of the backend k.

    >>> from minihire import get_backend
    >>> k = get_backend("reference")
    >>> times(k, k.asarray([1.0, 2.0]), 3.0, 0.5).tolist()
    [3.5, 6.5]
    """
    channels = x.shape[-1]
    return k.scale_shift(x, (factor,) * channels, (plus,) * channels)
