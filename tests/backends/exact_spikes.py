"""What tests of spikes share: numbers whose sums are exact, spikes as neurons emit them, and a comparison to the bit."""

import numpy as np


def fire(k, wanted, mask=None):
    """Spikes where `wanted` [T, B, …], from neurons without memory: I = 1 fires, I = 0 does not."""
    one, half = k.asarray([0.0]), k.asarray([0.5])
    return k.lif_forward(k.asarray(wanted), None, one, half, len(wanted), mask=mask)[0]


def choose(rng, shape, density):
    return (rng.uniform(size=shape) < density).astype(float)


def dyadic(rng, shape):
    return rng.integers(-8, 9, shape) / 8


def same(k, got, expected):
    np.testing.assert_array_equal(k.to_numpy(got), expected)
