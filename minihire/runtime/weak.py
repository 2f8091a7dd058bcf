"""Lets an object store its own bound method without a reference cycle."""

import weakref
from collections.abc import Callable
from typing import Any


def weak_method(method: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls a bound method, but does not keep its object alive.

    An object that stores its own bound method refers to itself. Python frees such an object only when its garbage collector
    runs, which can be hundreds of training batches later; a training holds the weights and Adam's moments until then.
    """
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any, **options: Any) -> Any:
        bound = reference()
        assert bound is not None  # the object itself calls this function
        return bound(*arguments, **options)

    return call
