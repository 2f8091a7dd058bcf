"""Adam's moments in 16 bits: the numbers, their rounding over many steps, and the optimiser's step on every backend."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_calls import linear_weight_gradient

from backends import get_backend, moments16
from backends.arrays import SpikeTrain

BETAS = 0.9, 0.999
CUTS = moments16.CUT_MEAN, moments16.CUT_SQUARE
STEPS = 2000


def random_moments(rng, shape):
    """mean and square as codes, over many orders of magnitude, some of them zero."""
    mean = rng.normal(size=shape) * 10.0 ** rng.integers(-12, 1, shape) * (rng.random(shape) < 0.9)
    square = mean**2 * rng.uniform(1, 10, shape)
    return [moments16.narrow(values, cut, 7) for values, cut in zip((mean, square), CUTS, strict=True)]


def units(code):
    """Places on the scale of 16-bit codes of means: a sign and a magnitude."""
    magnitude = (code & 0x7FFF).astype(int)
    return np.where(code >> 15, -magnitude, magnitude)


@given(st.floats(-(2.0**99), 2.0**99, width=32), st.sampled_from(CUTS), st.integers(0, 10**6))
def test_a_number_is_rounded_by_less_than_one_unit(value, cut, step):
    value = np.float32(abs(value) if cut == moments16.CUT_SQUARE else value)
    code = moments16.narrow(np.array([value]), cut, step)
    below = np.array(value.view(np.uint32) >> np.uint32(cut), np.uint16)
    assert code.dtype == np.uint16 and code[0] - int(below) in (0, 1)
    found = float(moments16.widen(code, cut)[0])
    assert abs(found - float(value)) <= max(abs(float(value)) * 2.0 ** (cut - 23), 2.0 ** (cut - 149))


@given(st.integers(0, 2**16 - 1), st.sampled_from(CUTS), st.integers(0, 10**6))
def test_codes_of_16_bits_survive_widening_and_narrowing(code, cut, step):
    code = np.array([code], np.uint16)
    wide = moments16.widen(code, cut)
    if np.isfinite(wide[0]):
        assert moments16.narrow(wide, cut, step) == code


@pytest.mark.parametrize("cut", CUTS)
def test_rounding_has_no_bias(cut):
    """Of an entry at many steps, and of many entries at a step: up as often as the part that is cut off says."""
    n, unit = 40_000, 2.0 ** (cut - 23)
    for value in (1.0 + 0.25 * unit, 1.5 + 0.9 * unit, 1.0 + 0.01 * unit):
        expected = np.float32(value)
        over_entries = moments16.widen(moments16.narrow(np.full(n, value), cut, 3), cut)
        over_steps = [moments16.widen(moments16.narrow(np.full(1, value), cut, t), cut)[0] for t in range(n // 10)]
        for found in (over_entries, over_steps):
            assert abs(np.mean(found, dtype=float) - expected) < 4 * 0.5 * unit / len(found) ** 0.5


def test_chance_is_even_and_knows_no_neighbours():
    found = np.stack([moments16.rounding_bits(500, step) for step in range(200)])
    assert all(abs(((found >> np.uint32(bit)) & np.uint32(1)).mean() - 0.5) < 0.01 for bit in range(32))
    places = found / 2**32
    for one, other in ((places[1:], places[:-1]), (places[:, 1:], places[:, :-1]), (places[2:], places[:-2])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02
    mean, square = found >> np.uint32(16), found & np.uint32(0x7FFF)
    assert abs(np.corrcoef(mean.ravel(), square.ravel())[0, 1]) < 0.02, "both moments of an entry by themselves"


@pytest.mark.parametrize("pattern", [(1.0,), (1.0, 0.0), (1.0, 0.2), (1.0, 0.0, 0.0, 0.0, 0.0)], ids=str)
def test_a_second_moment_is_right_whatever_the_rhythm_of_its_gradients(pattern):
    """HIRE's updates alternate between two kinds. Rounding by a regular sequence was 3 to 5 % off here."""
    squares = np.array(pattern) ** 2
    exact, codes, errors = squares.mean(), moments16.narrow(np.full(500, squares.mean()), moments16.CUT_SQUARE, 0), []
    for step in range(1, STEPS + 1):
        g = squares[step % len(squares)]
        exact = 0.999 * exact + 0.001 * g
        codes = moments16.narrow(0.999 * moments16.widen(codes, 15) + 0.001 * g, moments16.CUT_SQUARE, step)
        errors.append(moments16.widen(codes, 15).mean(dtype=float) / exact - 1)
    assert abs(np.mean(errors[STEPS // 2 :])) < 0.003
    assert np.std(moments16.widen(codes, 15) / exact) < 0.05


@pytest.mark.parametrize("from_value, to_value", [(1.0, 0.25), (1e-6, 1e-4), (0.3, 0.0)])
def test_a_second_moment_converges_to_the_mean_square(from_value, to_value):
    """It moves by a thousandth a step, a quarter of the least that 16 bits show; rounded to the nearest it would stay."""
    exact, codes = from_value, moments16.narrow(np.full(100, from_value), moments16.CUT_SQUARE, 0)
    nearest = codes.copy()
    for step in range(1, STEPS + 1):
        exact = 0.999 * exact + 0.001 * to_value
        codes = moments16.narrow(0.999 * moments16.widen(codes, 15) + 0.001 * to_value, 15, step)
        moved = (0.999 * moments16.widen(nearest, 15) + 0.001 * to_value).astype(np.float32)
        nearest = ((moved.view(np.uint32) + np.uint32(1 << 14)) >> np.uint32(15)).astype(np.uint16)
    found = moments16.widen(codes, 15).astype(float)
    np.testing.assert_allclose(found, exact, rtol=0.3)
    assert abs(found.mean() - exact) < 0.02 * exact
    assert abs(moments16.widen(nearest, 15).mean() - exact) > 0.2 * exact


@pytest.mark.parametrize("shape", [(1,), (15,), (3, 3, 2, 5), (129, 131)], ids=str)
def test_a_step_equals_the_reference_s(backend, exact, agrees, shape):
    rng = np.random.default_rng(1)
    moments, start, grad = random_moments(rng, shape), rng.normal(size=shape), rng.normal(size=shape)
    found = []
    for k in (exact, backend):
        weight, mean, square = k.asarray(start.copy()), *(k.asarray(m.copy()) for m in moments)
        k.adam_step(weight, k.asarray(grad), mean, square, None, 0.01, BETAS, 1e-8, 8, -1.5, 1.5)
        found.append([np.array(k.to_numpy(a)) for a in (weight, mean, square)])
    (weight, mean, square), (own, own_mean, own_square) = found
    agrees(backend.asarray(own), weight)
    for ours, theirs in ((units(own_mean), units(mean)), (own_square.astype(int), square.astype(int))):
        differ = np.abs(ours - theirs)
        assert differ.max() <= 1 and differ.sum() <= max(1, 1e-3 * differ.size), "where a float32 is rounded otherwise"


@pytest.mark.parametrize("density", [0.1, 0.9])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("outputs", [10, 300])
def test_a_lazy_weight_gradient_gives_the_same_step_as_an_array(backend, agrees, pooled, density, outputs):
    """Computed a part at a time, each of which must know where in the weight it stands."""
    rng = np.random.default_rng(5)
    counts = (rng.random((2, 30, 600)) < density) * rng.integers(1, 5 if pooled else 2, (2, 30, 600))
    x = SpikeTrain(counts.astype(np.uint8), 0.25 if pooled else 1.0, not pooled)
    if backend.name == "reference":
        x = x.counts * backend.float.type(x.scale)
    elif backend.name == "torch":
        x = x._replace(counts=backend.asarray(x.counts))
    grad = np.round(rng.normal(size=(2, 30, outputs)) * 8) / 8 * (rng.random((2, 30, outputs)) < density)
    start, moments = rng.normal(size=(600, outputs)), random_moments(rng, (600, outputs))
    handle = linear_weight_gradient(backend, backend.asarray(grad), x)
    found = []
    for given_grad in (handle, backend.asarray(np.array(backend.to_numpy(handle)))):
        weight, mean, square = backend.asarray(start.copy()), *(backend.asarray(m.copy()) for m in moments)
        for step in (8, 9):
            backend.adam_step(weight, given_grad, mean, square, None, 0.01, BETAS, 1e-8, step, -1.5, 1.5)
        found.append([np.array(backend.to_numpy(a)) for a in (weight, mean, square)])
    agrees(backend.asarray(found[0][0]), found[1][0])
    for ours, theirs in zip(found[0][1:], found[1][1:], strict=True):
        assert (ours != theirs).mean() < 1e-3
    assert not np.array_equal(found[0][0], start)


@pytest.mark.parametrize("density, grad_density", [(0.1, 1.0), (0.5, 0.05), (1.0, 1.0)])
def test_results_do_not_depend_on_the_number_of_threads(density, grad_density):
    """Lists of spikes, lists of gradients, a dense product."""
    pytest.importorskip("numba")
    found = []
    for threads in (1, 2):
        k, rng = get_backend("numba", threads=threads), np.random.default_rng(5)
        x = SpikeTrain((rng.random((2, 30, 600)) < density).astype(np.uint8), 1.0, True)
        grad = rng.normal(size=(2, 30, 130)) * (rng.random((2, 30, 130)) < grad_density)
        grad = linear_weight_gradient(k, k.asarray(grad), x)
        arrays = k.asarray(rng.normal(size=(600, 130))), *map(k.asarray, random_moments(rng, (600, 130)))
        k.adam_step(arrays[0], grad, *arrays[1:], None, 0.01, BETAS, 1e-8, 3, -9, 9)
        found.append([np.array(a) for a in arrays])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_moments_are_both_narrow_or_neither(backend):
    wide, narrow = backend.zeros((4,)), backend.zeros((4,), moments16.TYPE)
    for mean, square, largest in ((wide, narrow, None), (narrow, wide, None), (narrow, narrow, wide)):
        with pytest.raises(ValueError, match="both of 16 bits or neither"):
            backend.adam_step(wide, wide, mean, square, largest, 0.01, BETAS, 1e-8, 1, -9, 9)


def test_weights_end_near_those_of_adam_in_32_bits(backend):
    """Noisy gradients for many steps: the way that each weight has gone differs by little."""
    rng = np.random.default_rng(0)
    slope, ends = rng.normal(size=400) * 0.3, []
    grads = slope + rng.normal(size=(300, 400))
    for kind in (None, moments16.TYPE):
        weight, mean, square = backend.zeros((400,)), backend.zeros((400,), kind), backend.zeros((400,), kind)
        for step, grad in enumerate(grads, 1):
            backend.adam_step(weight, backend.asarray(grad), mean, square, None, 1e-3, BETAS, 1e-8, step, -9.0, 9.0)
        ends.append(np.array(backend.to_numpy(weight), float))
    assert 0 < np.linalg.norm(ends[1] - ends[0]) < 0.01 * np.linalg.norm(ends[0])
