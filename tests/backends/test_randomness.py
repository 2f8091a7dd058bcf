"""Philox and every draw: known answers, equality to the bit on every backend, independence of how a draw is sliced."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import randomness
from backends.randomness import Draw
from minihire.runtime.random_streams import Stream

ONES = 0xFFFFFFFF
KNOWN_ANSWERS = [  # kat_vectors of Random123: counter, key, result
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
SHAPES = [(1,), (3,), (5, 7), (2, 3, 3, 1), (4097,), (2, 4099)]
DRAWS = [
    Draw(0, Stream.INIT),
    Draw(2**40 + 3, Stream.DROPOUT, 7, 5),
    Draw(ONES << 32 | ONES, Stream.SUBSET, ONES, ONES),
]
draws = st.builds(
    Draw, st.integers(0, 2**64 - 1), st.sampled_from(list(Stream)), st.integers(0, ONES), st.integers(0, 1000)
)


@pytest.mark.parametrize("counter, key, answer", KNOWN_ANSWERS)
def test_philox_gives_the_known_answers_of_random123(counter, key, answer):
    words = randomness.philox(tuple(np.array([word], np.uint64) for word in counter), key)
    assert tuple(int(word[0]) for word in words) == answer


def test_a_draw_is_philox_of_its_name_and_index():
    """Element i is lane i mod 4 of counter (i // 4, step, stream, layer) under the seed's two words."""
    draw = Draw(0x299F31D0A4093822, 0x13198A2E, 0x85A308D3, 0x03707344)
    first = 4 * 0x243F6A88
    assert [int(bits) for bits in randomness.random_bits(draw, 4, first)] == list(KNOWN_ANSWERS[2][2])
    assert int(randomness.random_bits(draw, 1, first + 2)[0]) == KNOWN_ANSWERS[2][2][2]


@pytest.mark.parametrize("draw", DRAWS)
def test_every_backend_draws_the_same_bits(backend, draw):
    for shape, first in itertools.product(SHAPES, (0, 1, 6, 4095)):
        np.testing.assert_array_equal(
            backend.to_numpy(backend.random(draw, shape, first)), randomness.uniform(draw, shape, first)
        )
        np.testing.assert_array_equal(
            backend.to_numpy(backend.random(draw, shape, first, "normal")), randomness.normal(draw, shape, first)
        )


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5])
def test_dropout_mask_is_zero_below_the_rate_and_rescaled_above(backend, rate):
    draw, shape = Draw(3, Stream.DROPOUT, 11, 2), (3, 5, 7, 2)
    mask = backend.to_numpy(backend.dropout_mask(draw, shape, rate, first=9))
    expected = np.where(randomness.uniform(draw, shape, 9) < rate, 0, 1 / (1 - rate)).astype(backend.dtype)
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == backend.dtype


def test_rate_code_compares_each_step_s_own_draw_with_the_pixels(backend):
    draw = Draw(5, Stream.RATE_CODE, 1)
    images = np.arange(2 * 3 * 5 * 1).reshape(2, 3, 5, 1) / 29.0
    images[0, 0, 0, 0], images[1, 2, 4, 0] = 0, 1
    images = images.astype(np.float32)
    spikes = backend.to_numpy(backend.rate_code(draw, backend.asarray(images), 4, 6, first=30))
    expected = np.stack([randomness.uniform(draw._replace(layer=4 + t), images.shape, 30) < images for t in range(6)])
    np.testing.assert_array_equal(spikes, expected)
    assert not spikes[:, 0, 0, 0, 0].any() and spikes[:, 1, 2, 4, 0].all()  # pixel 0 never, pixel 1 always


@given(draw=draws, image=st.integers(1, 9), batch=st.integers(1, 7), start=st.integers(0, 6))
def test_a_draw_for_part_of_a_batch_equals_that_part_of_the_whole_draw(backend, draw, image, batch, start):
    """`first` counts entries, so images start … of the batch are the same whoever draws them."""
    whole, part = (start + batch, image), (batch, image)
    pixels = np.full(whole, 0.5, backend.dtype)
    kinds = {
        "uniform": lambda shape, first: backend.random(draw, shape, first),
        "normal": lambda shape, first: backend.random(draw, shape, first, "normal"),
        "dropout_mask": lambda shape, first: backend.dropout_mask(draw, shape, 0.3, first),
        "rate_code": lambda shape, first: backend.rate_code(draw, backend.asarray(pixels[: shape[0]]), 2, 3, first),
    }
    for name, make in kinds.items():
        all_of_it, share = backend.to_numpy(make(whole, 0)), backend.to_numpy(make(part, start * image))
        rows = all_of_it[:, start:] if name == "rate_code" else all_of_it[start:]
        np.testing.assert_array_equal(rows, share, err_msg=name)


def test_rate_code_of_later_steps_continues_the_earlier_ones(backend):
    draw, images = Draw(8, Stream.RATE_CODE), backend.asarray(np.full((2, 7), 0.4))
    whole = backend.to_numpy(backend.rate_code(draw, images, 0, 5))
    parts = [backend.to_numpy(backend.rate_code(draw, images, first, steps)) for first, steps in ((0, 2), (2, 3))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_draws_that_differ_in_one_word_of_their_name_are_uncorrelated():
    base = Draw(1, Stream.NOISE, 2, 3)
    others = [
        base._replace(**change)
        for change in ({"seed": 2}, {"seed": 1 + 2**32}, {"stream": Stream.CROP}, {"step": 3}, {"layer": 4})
    ]
    numbers = randomness.uniform(base, (4000,))
    for other in others:
        assert abs(np.corrcoef(numbers, randomness.uniform(other, (4000,)))[0, 1]) < 0.06


def test_moments_and_range():
    count = 200_000
    uniform = randomness.uniform(Draw(1, Stream.NOISE), (count,)).astype(np.float64)
    assert 0 <= uniform.min() < 1e-4 and 1 - 1e-4 < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 5 * (1 / 12 / count) ** 0.5
    assert abs(uniform.var() - 1 / 12) < 5 * (1 / 180 / count) ** 0.5
    normal = randomness.normal(Draw(2, Stream.NOISE), (count,)).astype(np.float64)
    assert abs(normal.mean()) < 5 / count**0.5
    assert abs(normal.var() - 1) < 5 * (2 / count) ** 0.5
    assert abs((normal**3).mean()) < 5 * (15 / count) ** 0.5
    assert abs((normal**4).mean() - 3) < 5 * (96 / count) ** 0.5
    assert np.abs(normal).max() <= 4.33


@pytest.mark.parametrize("high", [1, 2, 9, 65536])
def test_integers_are_below_high_and_reach_both_ends(high):
    numbers = randomness.integers(Draw(4, Stream.CROP), (50, 20), high)
    assert numbers.dtype == np.int64 and numbers.min() >= 0 and numbers.max() < high
    if high <= 9:
        assert set(numbers.ravel()) == set(range(high))


@pytest.mark.parametrize("count", [1, 2, 5, 1001])
def test_permutation_is_one_and_differs_from_draw_to_draw(count):
    order = randomness.permutation(Draw(6, Stream.SHUFFLE, 1), count)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    if count > 100:
        assert (order != randomness.permutation(Draw(6, Stream.SHUFFLE, 2), count)).any()
        assert (order != np.arange(count)).any()


def test_streams_keep_their_numbers():
    """Checkpoints hold them: a renumbered stream would change every resumed run."""
    names = [
        "INIT",
        "SPLIT",
        "SHUFFLE",
        "CROP",
        "FLIP",
        "DROPOUT",
        "NOISE",
        "RATE_CODE",
        "RANDOM_START",
        "CALIBRATION",
        "SUBSET",
    ]
    assert [stream.name for stream in Stream][: len(names)] == names
    assert [int(stream) for stream in Stream][: len(names)] == list(range(len(names)))
