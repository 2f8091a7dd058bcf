"""The state that a forward kernel saves for its backward kernel, and the check that no weight has changed since then.

`saved` may refer to weights without copying them. Using it after an optimiser step would mix old and new weights, so each
backend counts the updates of every parameter, and `Saved` compares the counts.
"""

import weakref
from typing import Any

from backends.errors import BackendError


class Versions:
    """How often each array was updated in place. An array that was never updated has version 0."""

    def __init__(self):
        # The key is the id of the array. An entry is removed when its array is freed.
        self.counts: dict[int, tuple[weakref.ref, int]] = {}
        self.log: list | None = None  # receives every updated array while torch_any/graphs.py records a function

    def of(self, array) -> int:
        """The number of updates of an array."""
        return self.counts[id(array)][1] if id(array) in self.counts else 0

    def updated(self, array) -> None:
        """Count one more update of an array."""
        key, counts = id(array), self.counts
        known = counts.get(key)
        reference = known[0] if known else weakref.ref(array, lambda _: counts.pop(key, None))
        counts[key] = reference, known[1] + 1 if known else 1
        if self.log is not None:
            self.log.append(array)


class Saved:
    """The content that a backend keeps between a forward kernel and its backward kernel, with the weights it depends on.

    kernel, shape: the forward kernel and the shape of its result, which backends/arguments.py compares with the gradient's.
    """

    __slots__ = ("content", "kernel", "saved_versions", "shape", "versions")

    def __init__(self, content: Any, versions: Versions, *weights):
        self.content, self.versions = content, versions
        self.kernel, self.shape = "", ()
        self.saved_versions = [(weight, versions.of(weight)) for weight in weights]

    def open(self) -> Any:
        """The content. Raises BackendError if a weight was updated since, or if the content was taken."""
        if self.content is None:
            raise BackendError("this saved state was used by a backward pass already: run the forward pass again")
        if any(self.versions.of(weight) != version for weight, version in self.saved_versions):
            raise BackendError(
                "the weights were updated after this forward pass: run the backward pass before the optimiser's step"
            )
        return self.content

    def take(self) -> Any:
        """Return the content to a backward kernel that overwrites it. Later calls of `open` and `take` raise BackendError."""
        content = self.open()
        self.content = None
        return content
