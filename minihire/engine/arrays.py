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


def subtract(k: Backend, a: Array, b: Array) -> Array:
    """a − b for arrays of the same shape."""
    return k.add(a, times(k, b, -1.0))


def full(k: Backend, shape: tuple[int, ...], value: float) -> Array:
    """An array of this shape, filled with a value."""
    return times(k, k.zeros(shape), 0.0, value)
