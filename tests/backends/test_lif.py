"""The LIF neuron: a trace by hand, back-propagation against finite differences, and every backend against the reference.

Gradients are checked with "soft" spikes: the surrogate's antiderivative in place of the step, whose finite differences
must equal back-propagation. Random cases stay off the surrogates' kinks.
"""

import numpy as np
import pytest
from every_backend import compared
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plain_calls import rate_gradient

from backends import BackendError, get_backend, surrogates
from backends.interface import NeuronState

FAMILY = {
    "triangle": surrogates.triangle(),
    "wide triangle": surrogates.triangle(0.5, 2.0),
    "unit triangle": surrogates.unit_triangle(0.5),
    "exponential": surrogates.exponential(1.5),
    "rectangle": surrogates.rectangle(0.75),
    "arctan": surrogates.arctan(),
    "low arctan": surrogates.Surrogate("arctan", 0.5, 3.0),
    "straight through": surrogates.straight_through(),
}
KINKS = {"triangle": (-1, 0, 1), "exponential": (0,), "rectangle": (-0.5, 0.5), "arctan": (), "straight_through": ()}
RESETS = ("immediate", "delayed")


def kinks(surrogate):
    """Where f or F bends, in units of z."""
    return [k * (1 if surrogate.kind == "exponential" else surrogate.width) for k in KINKS[surrogate.kind]]


# ---------------------------------------------------------------- surrogates


@pytest.mark.parametrize("name", FAMILY)
def test_the_derivative_of_the_antiderivative_is_the_surrogate(name):
    surrogate, h = FAMILY[name], 1e-5
    points = np.linspace(-3, 3, 601) + 1e-3
    points = points[[all(abs(z - k) > 2 * h for k in kinks(surrogate)) for z in points]]
    slope = (surrogates.antiderivative(surrogate, points + h) - surrogates.antiderivative(surrogate, points - h)) / (
        2 * h
    )
    np.testing.assert_allclose(slope, surrogates.derivative(surrogate, points), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    "name, at_zero, elsewhere",
    [
        ("triangle", 0.3, {0.5: 0.15, -0.5: 0.15, 1.0: 0, -1.5: 0}),
        ("wide triangle", 0.5, {1.0: 0.25, -2.0: 0}),
        ("unit triangle", 2.0, {0.25: 1.0, -0.5: 0}),
        ("exponential", 1.0, {2.0: np.exp(-3), -2.0: np.exp(-3)}),
        ("rectangle", 4 / 3, {0.37: 4 / 3, 0.38: 0, -0.38: 0}),
        ("arctan", 1.0, {1 / np.pi: 0.5, -1 / np.pi: 0.5}),
        ("straight through", 1.0, {5.0: 1.0}),
    ],
)
def test_surrogates_have_the_values_of_their_formulas(name, at_zero, elsewhere):
    values = surrogates.derivative(FAMILY[name], np.array([0.0, *elsewhere]))
    np.testing.assert_allclose(values, [at_zero, *elsewhere.values()], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "surrogate",
    [
        surrogates.unit_triangle(0.25),
        surrogates.unit_triangle(3.0),
        surrogates.rectangle(),
        surrogates.rectangle(0.25),
        surrogates.arctan(0.5),
        surrogates.arctan(4.0),
    ],
)
def test_surrogates_with_unit_area_integrate_to_one(surrogate):
    far = np.array([-1e9, 1e9])
    low, high = surrogates.antiderivative(surrogate, far)
    assert low == pytest.approx(0, abs=1e-8) and high == pytest.approx(1, abs=1e-8)


def test_every_kind_but_the_rate_has_a_row_and_a_code():
    assert {FAMILY[name].kind for name in FAMILY} == set(surrogates.TABLE)
    assert [surrogates.Surrogate(kind, 1, 1).code for kind in surrogates.TABLE] == list(range(len(surrogates.TABLE)))
    for surrogate in (surrogates.rate(), surrogates.Surrogate("adaptive", 1, 1)):
        with pytest.raises(BackendError, match="do not compute the surrogate"):
            surrogate.code  # noqa: B018
        with pytest.raises(BackendError, match="only the built-in neuron can compute it"):
            surrogates.derivative(surrogate, np.zeros(1))


# ---------------------------------------------------------------- the forward pass, by hand

CURRENT = [1.0, 0.75, 0.75, 0.5, 1.0, 0.25, 4.0, 0.0, 1.5, 0.125]  # leak 0.5, threshold 1, all sums exact
TRACE = {  # spikes, and the membrane that is handed on: u (immediate), m (delayed). Step 0 has m = v exactly: no spike.
    "immediate": (
        [0, 1, 0, 0, 1, 0, 1, 1, 1, 0],
        [1.0, 0.25, 0.875, 0.9375, 0.46875, 0.484375, 3.2421875, 0.62109375, 0.810546875, 0.5302734375],
    ),
    "delayed": (
        [0, 1, 0, 0, 1, 0, 1, 0, 1, 0],
        [1.0, 1.25, 0.375, 0.6875, 1.34375, -0.078125, 3.9609375, 0.98046875, 1.990234375, 0.1201171875],
    ),
}


def scalar(backend, value):
    return backend.asarray([float(value)])


def sums_agree(backend, got, expected, grad_current):
    """∂λ and ∂v are sums over all neurons that may cancel, so their error is measured by what was summed."""
    assert got.shape == (1,)
    got, expected, terms = (np.asarray(backend.to_numpy(x), np.float64) for x in (got, expected, grad_current))
    assert abs(got - expected)[0] <= (1e-5 if backend.dtype == "float32" else 1e-11) * (
        abs(expected[0]) + np.abs(terms).sum()
    )


@pytest.mark.parametrize("reset", RESETS)
def test_ten_steps_by_hand(backend, reset):
    """Whole and step by step, exactly."""
    spikes, membranes = TRACE[reset]
    current = backend.asarray(np.array(CURRENT).reshape(10, 1, 1))
    whole, end, _ = backend.lif_forward(current, None, scalar(backend, 0.5), scalar(backend, 1), 10, reset=reset)
    assert backend.to_numpy(whole).ravel().tolist() == spikes
    assert backend.to_numpy(end.membrane).ravel().tolist() == membranes[-1:]
    state = None
    for t in range(10):
        fired, state, _ = backend.lif_forward(
            backend.rows(current, t, t + 1), state, scalar(backend, 0.5), scalar(backend, 1), 1, reset=reset
        )
        assert backend.to_numpy(fired).item() == spikes[t]
        assert backend.to_numpy(state.membrane).item() == membranes[t]
        if reset == "delayed":
            assert backend.to_numpy(state.spikes).item() == spikes[t]
        else:
            assert state.spikes is None


@pytest.mark.parametrize("threshold", [1.0, 0.7, 1e-3])
@pytest.mark.parametrize("reset", RESETS)
def test_a_neuron_at_its_threshold_does_not_fire_and_one_just_above_does(backend, threshold, reset):
    v = backend.to_numpy(scalar(backend, threshold))
    current = np.stack([v, np.nextafter(v, v.dtype.type(9)), np.nextafter(v, v.dtype.type(-9))], axis=1)[
        None
    ]  # [1, 1, 3]
    spikes, _, _ = backend.lif_forward(
        backend.asarray(current), None, scalar(backend, 1), backend.asarray(v), 1, reset=reset
    )
    assert backend.to_numpy(spikes).ravel().tolist() == [0, 1, 0]


def test_without_a_leak_the_two_resets_fire_alike(backend):
    """λ = 1: an immediate and a delayed reset are one neuron, seen before or after the subtraction."""
    current = np.random.default_rng(0).integers(-8, 24, (9, 2, 11)) / 16
    trains = [
        backend.to_numpy(
            backend.lif_forward(
                backend.asarray(current), None, scalar(backend, 1), scalar(backend, 0.75), 9, reset=reset
            )[0]
        )
        for reset in RESETS
    ]
    np.testing.assert_array_equal(*trains)
    assert 0 < trains[0].mean() < 1


# ---------------------------------------------------------------- gradients against finite differences


class Case:
    """A random layer with a linear read-out of all that it returns, so that its gradient has every path in it."""

    def __init__(
        self, backend, surrogate, reset, reset_grad, steps, batch, features, static, with_state, with_mask, leak, seed
    ):
        rng = np.random.default_rng(seed)
        self.backend, self.surrogate, self.reset, self.reset_grad, self.steps = (
            backend,
            surrogate,
            reset,
            reset_grad,
            steps,
        )
        shape = (batch, features)
        self.current = rng.uniform(-0.5, 2.0, (1 if static else steps, *shape))
        self.leak, self.threshold = np.array([leak]), rng.uniform(0.6, 1.6, 1)
        self.membrane = rng.uniform(-0.5, 1.0, shape) if with_state else None
        self.spikes = rng.uniform(0, 1, shape) if with_state and reset == "delayed" else None
        self.mask = np.where(rng.uniform(size=shape) < 0.3, 0, 1.25) if with_mask else None
        self.out, self.end = rng.standard_normal((steps, *shape)), rng.standard_normal(shape)
        # the train behind a delayed reset is handed on too; held constant, it has no part in the loss
        self.end_spikes = rng.standard_normal(shape) if reset == "delayed" and reset_grad else None

    def arguments(self):
        return self.current, self.leak, self.threshold, self.membrane, self.spikes

    def start(self, membrane, spikes):
        return None if membrane is None else NeuronState(membrane, spikes)

    def forward(self, current, leak, threshold, membrane, spikes):
        return self.backend.lif_forward(
            current,
            self.start(membrane, spikes),
            leak,
            threshold,
            self.steps,
            reset=self.reset,
            mask=self.mask,
            soft=self.surrogate,
        )

    def loss(self, *arguments):
        """What the kernel computes, read out linearly."""
        spikes, end, _ = self.forward(*arguments)
        return self.read_out(spikes, end.membrane, end.spikes)

    def loss_with_constant_resets(self, train, current, leak, threshold, membrane, spikes):
        """The same, with the spikes that reset the membrane held at `train`: what reset_grad = False differentiates."""
        m_last = u_last = 0 if membrane is None else membrane
        reset_last = 0 if spikes is None else self.spikes
        out = []
        for t in range(self.steps):
            now = current[t if len(current) > 1 else 0]
            m = leak * u_last + now if self.reset == "immediate" else leak * m_last + now - threshold * reset_last
            soft = surrogates.antiderivative(self.surrogate, m / threshold - 1)
            out.append(soft if self.mask is None else soft * self.mask)
            m_last, u_last, reset_last = m, m - threshold * train[t], train[t]
        return self.read_out(np.stack(out), u_last if self.reset == "immediate" else m_last, None)

    def read_out(self, spikes, membrane, end_spikes):
        total = np.vdot(self.out, spikes) + np.vdot(self.end, membrane)
        return total if self.end_spikes is None else total + np.vdot(self.end_spikes, end_spikes)

    def gradients(self):
        """(∂current, ∂leak, ∂threshold, ∂membrane, ∂spikes) by the kernel, and what it saved."""
        _, _, saved = self.forward(*self.arguments())
        content = saved.open()
        current, start, leak, threshold = self.backend.lif_backward(
            saved, self.out, NeuronState(self.end, self.end_spikes), self.surrogate, self.reset_grad
        )
        spikes = start.spikes if self.spikes is not None else None
        return (current, leak, threshold, start.membrane if self.membrane is not None else None, spikes), content

    def away_from_kinks(self, saved):
        z = saved.membrane / self.threshold - 1
        return all(np.abs(z - k).min() > 1e-3 for k in kinks(self.surrogate))


cases = {
    "steps": st.integers(1, 5),
    "batch": st.integers(1, 3),
    "features": st.integers(1, 4),
    "static": st.booleans(),
    "with_state": st.booleans(),
    "with_mask": st.booleans(),
    "leak": st.sampled_from((0.3, 0.7, 0.0, 1.0)),
    "seed": st.integers(0, 2**32 - 1),
}


@pytest.mark.parametrize("reset_grad", [False, True])
@pytest.mark.parametrize("reset", RESETS)
@given(surrogate=st.sampled_from(list(FAMILY.values())), **cases)
def test_back_propagation_equals_finite_differences(exact, check_gradient, reset, reset_grad, surrogate, **shape):
    """Current (static and per step), leak, threshold and the membrane that comes in; also the spikes of a delayed reset."""
    case = Case(exact, surrogate, reset, reset_grad, **shape)
    grads, saved = case.gradients()
    assume(case.away_from_kinks(saved))
    if reset_grad:
        loss = case.loss
    else:
        loss = lambda *arguments: case.loss_with_constant_resets(saved.spikes, *arguments)
        assert loss(*case.arguments()) == pytest.approx(case.loss(*case.arguments()), rel=1e-12)
        grads = (*grads[:4], None)
    check_gradient(loss, case.arguments(), grads, step=2e-6)  # a steep surrogate through five resets bends the loss


@pytest.mark.parametrize("reset_grad", [False, True])
@pytest.mark.parametrize("reset", RESETS)
@settings(max_examples=10)
@given(
    surrogate=st.sampled_from(list(FAMILY.values())),
    cut=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    masked=st.booleans(),
    leak=st.sampled_from((0.5, 0.0, 1.0)),
)
def test_chunks_of_time_give_the_gradients_of_the_whole(
    backend, agrees, reset, reset_grad, surrogate, cut, seed, masked, leak
):
    """Forward: equal to the bit. Backward: the state's gradient takes the place of the steps to come."""
    rng, steps, shape = np.random.default_rng(seed), 5, (2, 3)
    current = backend.asarray(rng.integers(-8, 32, (steps, *shape)) / 16)
    leak, v = scalar(backend, leak), scalar(backend, 1.0)
    mask = backend.asarray(np.where(rng.uniform(size=shape) < 0.3, 0, 1.25)) if masked else None
    grad = backend.asarray(rng.integers(-16, 16, (steps, *shape)) / 8)
    whole, end, saved = backend.lif_forward(current, None, leak, v, steps, reset=reset, mask=mask)
    expected = backend.lif_backward(saved, grad, None, surrogate, reset_grad)
    first, middle, saved1 = backend.lif_forward(
        backend.rows(current, 0, cut), None, leak, v, cut, reset=reset, mask=mask
    )
    second, end2, saved2 = backend.lif_forward(
        backend.rows(current, cut, steps), middle, leak, v, steps - cut, reset=reset, mask=mask
    )
    np.testing.assert_array_equal(
        backend.to_numpy(whole), np.concatenate([backend.to_numpy(first), backend.to_numpy(second)])
    )
    np.testing.assert_array_equal(backend.to_numpy(end.membrane), backend.to_numpy(end2.membrane))
    late = backend.lif_backward(saved2, backend.rows(grad, cut, steps), None, surrogate, reset_grad)
    early = backend.lif_backward(saved1, backend.rows(grad, 0, cut), late[1], surrogate, reset_grad)
    agrees(
        backend.asarray(np.concatenate([backend.to_numpy(early[0]), backend.to_numpy(late[0])])),
        backend.to_numpy(expected[0]),
    )
    for i in (2, 3):
        sums_agree(backend, backend.add(early[i], late[i]), expected[i], expected[0])


@pytest.mark.parametrize("static, with_state", [(False, True), (True, False)])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("count", [7, 3008])
def test_leaving_out_the_last_state_changes_no_other_result(backend, count, reset, with_state, static):
    """To the bit, forward and backward."""
    rng, shape = np.random.default_rng(count), (2, count)
    current = backend.asarray(rng.normal(0.4, 1, (1 if static else 3, *shape)))
    start, g = None, backend.asarray(rng.normal(size=(3, *shape)))
    if with_state:
        spikes = backend.asarray(rng.integers(0, 2, shape) * 1.0) if reset == "delayed" else None
        start = NeuronState(backend.asarray(rng.normal(size=shape)), spikes)
    leak, v, found = scalar(backend, 0.9), scalar(backend, 0.8), []
    for wanted in (True, False):
        spikes, last, saved = backend.lif_forward(current, start, leak, v, 3, reset=reset, want_state=wanted)
        d, first, *sums = backend.lif_backward(saved, g, None, surrogates.triangle(), want_state=wanted)
        assert (last is not None, first is not None) == (wanted, wanted)
        found.append([np.array(backend.to_numpy(x)) for x in (spikes, d, *sums)])
        soft = backend.lif_forward(current, None, leak, v, 3, reset=reset, soft=FAMILY["triangle"], want_state=wanted)
        assert (soft[1] is not None) == wanted
        assert (backend.lif_backward(soft[2], g, None, FAMILY["triangle"], want_state=wanted)[1] is not None) == wanted
    for with_it, without in zip(*found, strict=True):
        np.testing.assert_array_equal(without, with_it)


@pytest.mark.parametrize("count", [5, 32])
def test_with_a_threshold_of_zero_every_positive_membrane_fires(backend, count):
    current = np.random.default_rng(0).normal(size=(1, 2, count))
    spikes, _, _ = backend.lif_forward(backend.asarray(current), None, scalar(backend, 1), scalar(backend, 0), 1)
    np.testing.assert_array_equal(backend.to_numpy(spikes), current > 0)


def test_currents_of_whole_numbers_are_refused():
    """An array of whole numbers would be taken for bytes."""
    pytest.importorskip("numba")
    k = get_backend("numba")
    with pytest.raises(BackendError, match=r"lif_forward was given current = int32 \[3, 2, 16\], expected an array"):
        k.lif_forward(np.ones((3, 2, 16), np.int32), None, scalar(k, 1), scalar(k, 1), 3)


@pytest.mark.parametrize("name", ["numba", "torch"])
def test_the_gradient_of_a_current_takes_the_memory_of_the_membranes(name):
    pytest.importorskip(name)
    k = get_backend(name)
    host = lambda array: np.asarray(array.grad if hasattr(array, "grad") and array.grad is not None else array)
    current = k.asarray(np.full((3, 4, 50), 0.4))
    _, _, saved = k.lif_forward(current, None, scalar(k, 1.0), scalar(k, 1.0), 3)
    membrane = saved.open().membrane
    d, *_ = k.lif_backward(saved, k.asarray(np.ones((3, 4, 50))), None, surrogates.triangle())
    assert np.shares_memory(host(membrane), host(d)) and not np.shares_memory(host(current), host(d))


# ---------------------------------------------------------------- the rate gradient


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_the_rate_gradient_is_the_derivative_of_its_ramp(backend, agrees, lam, reset, static, with_state):
    """r = clip(Ī/v − (1 − λ)/2, 0, 1) of the mean current Ī (delayed: over 2 − λ); the loss is Σ_t g[t]·r, times the mask."""
    rng, steps, shape, v = np.random.default_rng(1), 4, (2, 41), 0.75
    current = rng.integers(-8, 24, (1 if static else steps, *shape)) / 16 + 2.0**-8  # never on the ramp's ends
    grad, mask = rng.standard_normal((steps, *shape)), np.where(rng.uniform(size=shape) < 0.3, 0, 1.25)
    start = None
    if with_state:
        start = NeuronState(
            backend.asarray(rng.integers(-8, 24, shape) / 16),
            backend.asarray(rng.integers(0, 2, shape) * 1.0) if reset == "delayed" else None,
        )

    def loss(i):
        mean = np.broadcast_to(i, (steps, *shape)).mean(axis=0)
        return (grad.sum(axis=0) * np.clip(ramp(mean, v, lam, reset), 0, 1) * mask).sum()

    numerical, h = np.zeros_like(current), 2.0**-12
    for index in np.ndindex(current.shape):
        for sign in (1, -1):
            moved = current.copy()
            moved[index] += sign * h
            numerical[index] += sign * loss(moved) / (2 * h)
    assert 0 < np.count_nonzero(numerical) < numerical.size * 0.7  # inside the ramp and outside
    _, _, saved = backend.lif_forward(
        backend.asarray(current),
        start,
        scalar(backend, lam),
        scalar(backend, v),
        steps,
        reset=reset,
        mask=backend.asarray(mask),
    )
    agrees(
        rate_gradient(backend, saved, backend.asarray(grad)), numerical, 1e-5 if backend.dtype == "float32" else 1e-9
    )


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("lam, largest", [(0.5, 0.09), (0.7, 0.05), (0.9, 0.012), (1.0, 0.002)])
def test_the_ramp_is_the_firing_rate_of_the_neuron(exact, lam, largest, reset):
    """Many steps, constant currents. Without its divisor, the delayed reset would exceed each limit but the last."""
    v, steps, current = 0.75, 400, np.linspace(0.05, 0.7, 60)
    spikes, *_ = exact.lif_forward(
        current[None, None], None, exact.asarray([lam]), exact.asarray([v]), steps, reset=reset
    )
    error = np.mean(spikes, axis=0)[0] - np.clip(ramp(current, v, lam, reset), 0, 1)
    assert np.sqrt(np.mean(error**2)) < largest


def ramp(mean_current, v, lam, reset):
    return (mean_current / v - (1 - lam) / 2) / (2 - lam if reset == "delayed" else 1)


# ---------------------------------------------------------------- every backend against the reference


RESET_GRADS = [(reset, reset_grad) for reset in RESETS for reset_grad in (False, True)]
EXTRAS = ["plain", "static mask", "state", "static state mask"]


@compared
@pytest.mark.parametrize(
    "reset, reset_grad, extras, steps, batch, features, leak",
    [
        *((*resets, "static state mask", 5, 2, 1025, leak) for resets in RESET_GRADS for leak in (0.0, 1.0)),
        *((*resets, "plain", 5, 2, 1025, leak) for resets in RESET_GRADS for leak in (0.0, 1.0)),
        *((*resets, extras, 5, 2, 1025, 0.5) for resets in RESET_GRADS for extras in EXTRAS),
        # One neuron, one step, and a number of neurons that vectors divide: with little and with much around them.
        *(
            (*case, *shape, 0.5)
            for case in (("immediate", False, "plain"), ("delayed", True, "static state mask"))
            for shape in ((1, 1, 1), (1, 3, 683), (8, 1, 4096))
        ),
    ],
)
def test_equals_the_reference_on_exact_numbers(
    backend, exact, agrees, steps, batch, features, reset, reset_grad, extras, leak
):
    """Multiples of powers of two, so that float32 rounds nothing away: equal spikes and states, gradients within 1e-5."""
    rng, shape = np.random.default_rng(features), (batch, features)
    arrays = {
        "current": rng.integers(-12, 32, (1 if "static" in extras else steps, *shape)) / 16,
        "leak": np.array([leak]),
        "threshold": np.array([0.5]),
        "membrane": rng.integers(-8, 24, shape) / 16,
        "spikes": rng.integers(0, 2, shape).astype(float),
        "mask": np.where(rng.uniform(size=shape) < 0.25, 0, 1.25) if "mask" in extras else None,
        "grad": rng.integers(-16, 17, (steps, *shape)) / 8,
        "grad_end": rng.integers(-8, 9, shape) / 8,
    }
    results = []
    for b in (exact, backend):
        a = {name: None if x is None else b.asarray(x) for name, x in arrays.items()}
        delayed = reset == "delayed"
        start = NeuronState(a["membrane"], a["spikes"] if delayed else None) if "state" in extras else None
        forward = lambda b=b, a=a, start=start: b.lif_forward(
            a["current"], start, a["leak"], a["threshold"], steps, reset=reset, mask=a["mask"]
        )
        spikes, end, saved = forward()
        grad_end = (
            NeuronState(a["grad_end"], a["grad_end"] if delayed and reset_grad else None) if "state" in extras else None
        )
        found = [b.lif_backward(forward()[2], a["grad"], grad_end, s, reset_grad) for s in FAMILY.values()]
        results.append(([spikes, *end], found, rate_gradient(b, saved, a["grad"])))
    (forward, gradients, rate), (forward_here, gradients_here, rate_here) = results
    for expected, got in zip(forward, forward_here, strict=True):
        assert (expected is None) == (got is None)
        if expected is not None:
            np.testing.assert_array_equal(backend.to_numpy(got), expected)
    assert features < 50 or 0 < np.count_nonzero(forward[0]) < forward[0].size
    for expected, got in zip(gradients, gradients_here, strict=True):
        (current, start, leak, threshold), (current_here, start_here, leak_here, threshold_here) = expected, got
        agrees(current_here, current)
        agrees(start_here.membrane, start.membrane)
        assert (start.spikes is None) == (start_here.spikes is None)
        if start.spikes is not None:
            agrees(start_here.spikes, start.spikes)
        sums_agree(backend, leak_here, leak, current)
        sums_agree(backend, threshold_here, threshold, current)
    agrees(rate_here, rate)


def test_a_gradient_of_zeros_gives_gradients_of_zeros(backend):
    """With no gradient from above, and none of the state, everything is zero."""
    current = backend.asarray(np.linspace(-1, 3, 30).reshape(3, 2, 5))
    _, _, saved = backend.lif_forward(current, None, scalar(backend, 0.5), scalar(backend, 1), 3)
    grads = backend.lif_backward(saved, backend.zeros((3, 2, 5)), None, surrogates.triangle())
    for grad in (grads[0], grads[1].membrane, grads[2], grads[3]):
        assert not backend.to_numpy(grad).any()


def test_a_delayed_start_without_spikes_equals_one_with_no_spikes(backend, agrees):
    """The forward pass takes a NeuronState of a membrane alone; so does the backward pass."""
    rng, results = np.random.default_rng(2), []
    current, grad, membrane = (
        backend.asarray(rng.integers(-8, 24, shape) / 16) for shape in ((3, 2, 5), (3, 2, 5), (2, 5))
    )
    for spikes in (None, backend.zeros((2, 5))):
        (out, _, saved), (_, _, again) = (
            backend.lif_forward(
                current, NeuronState(membrane, spikes), scalar(backend, 0.5), scalar(backend, 1), 3, reset="delayed"
            )
            for _ in range(2)
        )
        into, start, leak, threshold = backend.lif_backward(saved, grad, None, surrogates.triangle())
        results.append([out, into, start.membrane, leak, threshold, rate_gradient(backend, again, grad)])
    for one, other in zip(*results, strict=True):
        agrees(one, backend.to_numpy(other))
