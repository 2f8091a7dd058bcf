"""The numerical check accepts right gradients and rejects wrong ones."""

import numpy as np
import pytest

from minihire.engine.check import gradient_error

X, Y = np.array([0.5, -1.0, 2.0]), np.array([[1.0], [3.0]])


def function(x, y):
    return (x**3).sum() * (y**2).sum()


def right():
    return [3 * X**2 * (Y**2).sum(), 2 * Y * (X**3).sum()]


def test_right_gradients_pass():
    assert gradient_error(function, [X, Y], right()) < 1e-8


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "wrong",
    [lambda g: g * 1.001, lambda g: -g, lambda g: g * 0, lambda g: g[::-1]],
    ids=["scaled", "sign", "zero", "order"],
)
def test_wrong_gradients_fail(which, wrong):
    grads = right()
    grads[which] = wrong(grads[which])
    assert gradient_error(function, [X, Y], grads) > 1e-4


def test_a_gradient_of_none_is_skipped_and_a_wrong_shape_is_an_error():
    assert gradient_error(function, [X, Y], [None, right()[1]]) < 1e-8
    with pytest.raises(ValueError, match="shape"):
        gradient_error(function, [X, Y], [right()[0][:, None], None])
