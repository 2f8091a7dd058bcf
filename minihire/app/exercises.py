"""The exercises of the lessons: run a student's function and compare its results with the library's.

The functions to be written are in demos/stubs, solutions in demos/solutions. This file has the inputs of the comparison and
the expected results, which the library computes in float64.
"""

import math
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from backends import get_backend
from backends.lif import lif_backward, lif_forward
from backends.surrogates import triangle
from minihire.app.modules import failure, load_module
from minihire.runtime.errors import MinihireError
from minihire.training import CraftedNoise


class Case(NamedTuple):
    """One comparison. arguments: those of the student's function. expected: its results by name, in order."""

    title: str
    arguments: tuple[Any, ...]
    expected: dict[str, Any]


class Exercise(NamedTuple):
    """A function to be written, and the comparisons that it must pass."""

    function: str
    cases: Callable[[], list[Case]]


def check(number: int, path: Path) -> None:
    """Compare the function in a student's file with the library. Prints a line for each comparison that agrees.

    Raises MinihireError, with the first value that differs, at the first comparison that does not agree, and for a file
    without the function or with a function that fails.
    """
    exercise = EXERCISES[number]
    module = load_module(path, "--check")
    function = getattr(module, exercise.function, None)
    if not callable(function):
        raise MinihireError(
            f"{path} has no function {exercise.function}: `minihire demo {number} --stub` writes its first lines"
        )
    cases = exercise.cases()
    for case in cases:
        arguments = [value.copy() if isinstance(value, np.ndarray) else value for value in case.arguments]
        try:
            with np.errstate(all="ignore"):
                returned = function(*arguments)
        except (Exception, SystemExit) as error:
            raise MinihireError(f"{exercise.function} in {path} fails with {failure(error, path)}") from error
        changed = [
            n for n, (a, b) in enumerate(zip(arguments, case.arguments, strict=True), 1) if not np.array_equal(a, b)
        ]
        if changed:
            raise MinihireError(
                f"{exercise.function} in {path} changes its argument number {changed[0]}: "
                "leave the arrays that it gets as they are, and compute into new ones"
            )
        if returned is None:
            names = " and ".join(case.expected)
            raise MinihireError(f"{exercise.function} in {path} returns nothing: write its body, and return {names}")
        wrong = _difference(returned, case, exercise.function)
        if wrong:
            raise MinihireError(f"{path} is wrong for {case.title}: {wrong}")
        print(f"right: {case.title}")
    print(f"Exercise {number} is solved: all {len(cases)} comparisons with the library agree.")


def _difference(returned: Any, case: Case, function: str) -> str | None:
    """What is wrong about a function's results, in words; None if nothing is.

    The tolerance allows for results that were computed in float32.
    If values differ, it is the value with the smallest index, and so the earliest time step: later ones may follow from it.
    """
    names = list(case.expected)
    values = [returned] if len(names) == 1 else returned
    if isinstance(values, np.ndarray) and len(names) == len(np.atleast_1d(values)):
        values = list(values)  # results of one shape may be stacked
    if not isinstance(values, (tuple, list)) or len(values) != len(names):
        count = f"{len(values)} values" if isinstance(values, (tuple, list)) else "one value"
        return f"{function} returns {count} instead of {len(names)}: {', '.join(names)}"
    differences = []
    for name, value in zip(names, values, strict=True):
        expected = np.asarray(case.expected[name])
        try:
            found = np.asarray(value).astype(np.float64, casting="same_kind")  # refuses complex numbers
        except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor that requires a gradient
            return f"{name} should be numbers but is {reprlib.repr(value)}"
        if found.shape != expected.shape:
            return f"{name} has the shape {list(found.shape)} instead of {list(expected.shape) or 'a single number'}"
        wrong = np.argwhere(~np.isclose(found, expected, rtol=1e-5, atol=1e-6))
        if len(wrong):
            first = tuple(wrong[0].tolist())
            place = f"{name}{list(first)}" if first else name
            more = f" (the first of {len(wrong)} differing values of {expected.size})" if len(wrong) > 1 else ""
            text = f"expected {place} = {expected[first]:.8g}, found {found[first]:.8g}{more}"
            differences.append((first or (math.inf,), text))
    return min(differences, key=lambda pair: pair[0])[1] if differences else None


def _forward_cases() -> list[Case]:
    rng = np.random.default_rng(1)
    cases = []
    for title, current, leak, threshold in (
        ("a current that is too small for a spike", np.full((5, 1), 0.15), 0.8, 1.0),
        ("a membrane equal to the threshold, which does not fire", np.full((5, 1), 0.25), 1.0, 0.5),
        ("spikes with a leak", np.full((8, 1), 0.7), 0.9, 1.0),
        ("random currents of three neurons", rng.uniform(-0.5, 1.5, (6, 3)), 0.7, 0.8),
    ):
        spikes, _, saved = _neurons(current, leak, threshold)
        cases.append(Case(title, (current, leak, threshold), {"m": saved.membrane, "s": spikes}))
    return cases


def _backward_cases() -> list[Case]:
    rng = np.random.default_rng(3)
    last = np.zeros((6, 1))
    last[-1] = 1.0
    cases = []
    for title, current, g, leak, threshold in (
        ("a single time step", np.array([[0.3, 0.9, 2.5]]), np.array([[1.0, -2.0, 1.0]]), 0.9, 1.0),
        ("a loss that depends on the last step only", rng.uniform(0.1, 0.6, (6, 1)), last, 0.8, 1.0),
        ("a loss that depends on every step", rng.uniform(0, 1.5, (6, 3)), rng.standard_normal((6, 3)), 0.7, 0.8),
    ):
        spikes, _, saved = _neurons(current, leak, threshold)
        grad_current, _, grad_leak, grad_threshold = lif_backward(saved, g, None, triangle())
        expected = {"∂L/∂I": grad_current, "∂L/∂λ": grad_leak[0], "∂L/∂v": grad_threshold[0]}
        cases.append(Case(title, (saved.membrane, spikes, g, leak, threshold), expected))
    return cases


def _neurons(current: np.ndarray, leak: float, threshold: float) -> tuple[Any, Any, Any]:
    return lif_forward(current, None, np.array([leak]), np.array([threshold]), len(current), reset="delayed")


def _noise_cases() -> list[Case]:
    rng, k = np.random.default_rng(5), get_backend("reference", dtype="float64")
    shape = (2, 3, 3, 1)
    grad = rng.standard_normal(shape)
    small = np.where(rng.random(shape) < 0.3, 0.0, 1e-4 * grad)
    cases = []
    for title, kappa, gradient, step, bound in (
        ("the first step, from κ = 0", np.zeros(shape), grad, 0.01, 0.03),
        ("a small gradient, and a gradient of 0", rng.uniform(-0.01, 0.01, shape), small, 0.01, 0.03),
        ("κ that reaches its bound ±ε_t", 0.02 * np.sign(rng.standard_normal(shape)), grad, 0.008, 0.024),
    ):
        expected = CraftedNoise(step, bound).after_period(k, kappa, gradient)
        cases.append(Case(title, (kappa, gradient, step, bound), {"κ": expected}))
    return cases


def _attack_cases() -> list[Case]:
    rng, k = np.random.default_rng(6), get_backend("reference", dtype="float64")
    shape, epsilon, alpha = (2, 3, 3, 1), 8 / 255, 0.01
    grey, extreme = rng.uniform(0.2, 0.8, shape), rng.integers(0, 2, shape) + 0.0
    grad = rng.standard_normal(shape)
    partly = np.where(rng.random(shape) < 0.3, 0.0, 1e-4 * grad)
    moved = np.clip(grey + rng.uniform(-epsilon, epsilon, shape), grey - 0.9 * epsilon, grey + 0.9 * epsilon)
    cases = []
    for title, attacked, images, gradient, size, bound in (
        ("FGSM, one step of α = ε from the image", grey, grey, grad, epsilon, epsilon),
        ("PGD, a step of α < ε from the image", grey, grey, grad, alpha, epsilon),
        ("PGD, a step that leaves x ± ε and is projected", moved, grey, grad, 3 * alpha, epsilon),
        ("a small gradient, and a gradient of 0", grey, grey, partly, 2 * alpha, 1.5 * alpha),
        ("black and white pixels, which stay in [0, 1]", extreme, extreme, grad, alpha, epsilon),
    ):
        expected = k.sign_step(attacked, gradient, size, 0.0, 1.0, center=images, bound=bound)
        cases.append(Case(title, (attacked, images, gradient, size, bound), {"x̂": expected}))
    return cases


EXERCISES = {  # by number of the lesson
    1: Exercise("lif_forward", _forward_cases),
    3: Exercise("lif_backward", _backward_cases),
    5: Exercise("noise_step", _noise_cases),
    6: Exercise("attack_step", _attack_cases),
}
