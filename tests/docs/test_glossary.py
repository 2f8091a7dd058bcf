"""docs/glossary.md: compares neurons and surrogates of other libraries, built as the page says, with minihire's."""

import numpy as np
import pytest
from handbook_pages import blocks, rows, run

from backends import surrogates
from backends.surrogates import Surrogate
from minihire.analysis.statistics import mcnemar, wilson

torch = pytest.importorskip("torch", reason="the other libraries' neurons are torch modules")
PAGE = "glossary.md"
NEURONS = [(0.875, 0.75), (0.5, 1.25), (0.96875, 0.375)]  # λ and v that binary fractions hold exactly
T, B, F = 12, 3, 40


@pytest.fixture
def theirs(monkeypatch):
    """theirs("snnTorch", "snntorch"): the names of that section's code; skips where the library is not installed."""

    def load(heading, library):
        pytest.importorskip(library)
        (code,) = blocks(PAGE)[heading]
        return run(code, "glossary_example", monkeypatch)

    return load


@pytest.fixture
def case():
    """case(threshold): a random current [T, B, F] that fires often, and a random ∂L/∂s (snnTorch's spikes are float32)."""

    def make(threshold, seed=0):
        rng = np.random.default_rng(seed)
        return rng.uniform(-0.6, 1.2, (T, B, F)) * threshold, rng.integers(-16, 17, (T, B, F)) / 8

    return make


def ours(exact, current, grad, leak, threshold, surrogate, reset, reset_grad):
    """(s, m, u, ∂L/∂I, ∂L/∂λ, ∂L/∂v) of the reference."""
    spikes, _, saved = exact.lif_forward(
        current, None, np.array([leak]), np.array([threshold]), len(current), reset=reset
    )
    membrane = saved.open().membrane
    d, _, grad_leak, grad_threshold = exact.lif_backward(saved, grad, None, surrogate, reset_grad)
    assert 0.1 < spikes.mean() < 0.9
    return spikes, membrane, membrane - threshold * spikes, d, grad_leak[0], grad_threshold[0]


def same(got, expected, tolerance=1e-9):
    np.testing.assert_allclose(np.asarray(got), expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def step_by_step(neuron, current):
    """snnTorch's loop over time: spikes and `mem` [T, B, F], and the current as a leaf."""
    leaf = torch.tensor(current, requires_grad=True)
    spikes, membranes, mem = [], [], torch.zeros(B, F, dtype=torch.float64)
    for step in leaf:
        s, mem = neuron(step, mem)
        spikes.append(s)
        membranes.append(mem)
    return leaf, torch.stack(spikes).double(), torch.stack(membranes)


@pytest.mark.parametrize("leak, threshold", NEURONS)
def test_snntorch(theirs, exact, case, leak, threshold):
    neuron = theirs("snnTorch", "snntorch")["snntorch_neuron"](leak, threshold, 2.0).double()
    current, grad = case(threshold)
    leaf, spikes, membranes = step_by_step(neuron, current)
    (spikes * torch.tensor(grad)).sum().backward()
    f = surrogates.arctan(2.0)
    s, m, _, d, grad_leak, grad_threshold = ours(exact, current, grad, leak, threshold, f, "delayed", False)
    np.testing.assert_array_equal(spikes.detach(), s)
    same(membranes.detach(), m)
    same(leaf.grad, d)
    same(neuron.beta.grad, grad_leak)
    z = m / threshold - 1
    difference = np.sum(surrogates.derivative(f, z) * grad * z) / threshold
    assert abs(difference) > 1e-3
    same(neuron.threshold.grad, grad_threshold + difference, 1e-6)  # which snnTorch adds up in float32


@pytest.mark.parametrize("leak, threshold", NEURONS)
def test_snntorch_without_delay_is_the_immediate_reset_up_to_twice_the_threshold(exact, case, leak, threshold):
    snntorch = pytest.importorskip("snntorch")
    spike_grad, f = snntorch.surrogate.atan(alpha=2.0 / threshold), surrogates.arctan(2.0)
    current, grad = case(threshold)
    for drive, below in ((np.minimum(current, threshold), True), (2.5 * current, False)):
        neuron = snntorch.Leaky(beta=leak, threshold=threshold, spike_grad=spike_grad, reset_delay=False).double()
        leaf, spikes, membranes = step_by_step(neuron, drive)
        (spikes * torch.tensor(grad)).sum().backward()
        s, m, u, d, *_ = ours(exact, drive, grad, leak, threshold, f, "immediate", True)
        assert (m.max() <= 2 * threshold) == below and np.array_equal(spikes.detach(), s) == below
        if below:
            same(membranes.detach(), u)
            same(leaf.grad, d, 1e-6)  # through float32 spikes


@pytest.mark.parametrize("reset_grad", [False, True])
@pytest.mark.parametrize("leak, threshold", NEURONS)
def test_spikingjelly(theirs, exact, case, leak, threshold, reset_grad):
    neuron = theirs("SpikingJelly", "spikingjelly")["spikingjelly_neuron"](leak, threshold, 1.5, reset_grad)
    current, grad = case(threshold)
    leaf = torch.tensor(current, requires_grad=True)
    spikes = neuron(leaf)
    (spikes * torch.tensor(grad)).sum().backward()
    f = surrogates.unit_triangle(1.5)
    s, _, u, d, *_ = ours(exact, current, grad, leak, threshold, f, "immediate", reset_grad)
    np.testing.assert_array_equal(spikes.detach(), s)
    same(neuron.v_seq.detach(), u)
    same(leaf.grad, d)


def test_spikingjelly_fires_at_the_threshold_and_ours_above_it(theirs, exact):
    neuron = theirs("SpikingJelly", "spikingjelly")["spikingjelly_neuron"](0.5, 1.0, 1.0)
    current = np.ones((1, 1, 1))
    assert neuron(torch.tensor(current)).item() == 1
    assert exact.lif_forward(current, None, np.array([0.5]), np.array([1.0]), 1)[0].item() == 0


@pytest.mark.parametrize("leak, threshold", NEURONS)
def test_norse(theirs, exact, case, leak, threshold):
    names = theirs("norse", "norse")
    from norse.torch.functional.lif_box import LIFBoxFeedForwardState, lif_box_feed_forward_step

    parameters = names["norse_parameters"](leak, threshold, 0.3)
    current, grad = case(threshold)
    leaf = torch.tensor(current, requires_grad=True)
    state, spikes, membranes = LIFBoxFeedForwardState(v=torch.zeros(B, F, dtype=torch.float64)), [], []
    for step in leaf:
        s, state = lif_box_feed_forward_step(step / (1 - leak), state, parameters)
        spikes.append(s)
        membranes.append(state.v)
    spikes, membranes = torch.stack(spikes), torch.stack(membranes)
    (spikes * torch.tensor(grad)).sum().backward()
    f = surrogates.triangle(0.3, width=1 / threshold)
    s, _, u, d, *_ = ours(exact, current, grad, leak, threshold, f, "immediate", True)
    np.testing.assert_array_equal(spikes.detach(), s)
    same(membranes.detach(), u)
    same(leaf.grad, d)


# ---------------------------------------------------------------- resets to zero: the example of extending.md


@pytest.fixture
def zero(monkeypatch, exact):
    """zero(current, grad, leak, threshold, surrogate, reset_grad) of the example's neuron: s, ∂L/∂I, ∂L/∂λ."""
    from minihire.engine import Tape, Variable
    from minihire.engine.lif import NeuronOptions
    from minihire.layers import ForwardContext

    names = run(blocks("extending.md")["A neuron"][0], "example", monkeypatch)

    def go(current, grad, leak, threshold, surrogate, reset_grad):
        x, lam, v = (Variable(exact.asarray(a), True) for a in (current, [leak], [threshold]))
        tape, options = Tape(exact), NeuronOptions(surrogate=surrogate, reset_grad=reset_grad)
        spikes = names["HardReset"]("n")(ForwardContext(tape, {"n.threshold": v, "n.leak": lam}, True, T, options), x)
        tape.backward([(spikes, grad)])
        return spikes.value, x.grad, lam.grad

    return go


@pytest.mark.parametrize("leak, threshold", NEURONS)
def test_the_resets_to_zero_are_the_example_of_extending(zero, case, leak, threshold):
    snntorch = pytest.importorskip("snntorch")
    spike_grad = snntorch.surrogate.atan(alpha=2.0 / threshold)
    neuron = snntorch.Leaky(leak, threshold, spike_grad, reset_mechanism="zero", learn_beta=True).double()
    current, grad = case(threshold)
    leaf, spikes, _ = step_by_step(neuron, current)
    (spikes * torch.tensor(grad)).sum().backward()
    s, d, grad_leak = zero(current, grad, leak, threshold, surrogates.arctan(2.0), False)
    np.testing.assert_array_equal(spikes.detach(), s)
    same(leaf.grad, d)
    same(neuron.beta.grad, grad_leak[0])


@pytest.mark.parametrize("reset_grad", [False, True])
@pytest.mark.parametrize("leak, threshold", NEURONS)
def test_spikingjelly_s_default_reset_is_that_example_too(zero, case, leak, threshold, reset_grad):
    library = pytest.importorskip("spikingjelly.activation_based")
    from spikingjelly.activation_based import neuron, surrogate

    assert library
    node = neuron.LIFNode(
        1 / (1 - leak), False, threshold, 0.0, surrogate.ATan(2.0 / threshold), not reset_grad, step_mode="m"
    )
    current, grad = case(threshold)
    leaf = torch.tensor(current, requires_grad=True)
    spikes = node(leaf)
    (spikes * torch.tensor(grad)).sum().backward()
    s, d, _ = zero(current, grad, leak, threshold, surrogates.arctan(2.0), reset_grad)
    np.testing.assert_array_equal(spikes.detach(), s)
    same(leaf.grad, d)


# ---------------------------------------------------------------- surrogates

V, W, A = 0.7, 1.5, 3.0
NAMES = {"v": V, "width": W, "sharpness": A, "b": A, "gamma": 0.3}


def torch_derivative(function):
    """ds/dx of a surrogate on a grid of x = m − v without the points where it has no derivative."""
    x = torch.linspace(-3.003, 2.997, 401, dtype=torch.float64, requires_grad=True)
    function(x).sum().backward()
    return x.detach().numpy(), x.grad.numpy()


def test_the_figures_of_the_statistical_terms():
    meaning = {row[0]: row[1] for row in rows(PAGE) if len(row) == 2}
    won = np.arange(20) < 15
    assert f"15 images against 5 give p = {mcnemar(won, ~won):.3f}" in meaning["McNemar's test"]
    for correct, count in ((90, 100), (900, 1000)):
        low, high = wilson(correct, count)
        said = f"give {100 * low:.1f} to {100 * high:.1f} %"
        assert said in meaning["Wilson interval"].partition(f"{correct} ")[2].partition(f"{count:,}")[2]


def cells():
    """Rows of the table of surrogates: (our call, library, call there, the v for which they are equal)."""
    found, columns = [], {2: "snntorch.surrogate", 3: "spikingjelly.activation_based.surrogate"}
    for row in rows(PAGE):
        ours_called = row[0].split("`")[1] if row[0].startswith("`") and len(row) == 5 else ""
        for column, library in columns.items() if "(" in ours_called else ():
            call = row[column].split("`")[1] if "`" in row[column] else ""
            if "(" in call:
                found.append((ours_called, library, call, 1.0 if "only with v = 1" in row[column] else V))
    return found


def value(call, names):
    """The value of a call in the table, with numbers for the letters of the page."""
    return eval(call, {"__builtins__": {}}, names)


@pytest.mark.parametrize("mine, library, call, v", cells(), ids=lambda value: str(value))
def test_surrogates_of_the_table_have_counterparts(mine, library, call, v):
    module = pytest.importorskip(library)
    family = {name: getattr(surrogates, name) for name in ("triangle", "unit_triangle", "rectangle", "arctan")}
    family |= {"straight_through": surrogates.straight_through, "Surrogate": Surrogate}
    x, theirs = torch_derivative(value(call, vars(module) | NAMES | {"v": v}))
    f = surrogates.derivative(value(mine, family | NAMES | {"v": v}), x / v)
    assert np.count_nonzero(theirs) > 50
    np.testing.assert_allclose(theirs, f / v, rtol=1e-9, atol=1e-12)


def test_the_table_of_surrogates_was_read():
    assert len(cells()) == 6


def test_norse_s_triangle_is_ours_of_width_one_over_v():
    pytest.importorskip("norse")
    from norse.torch.functional.threshold import threshold

    x, theirs = torch_derivative(lambda x: threshold(x, "triangle", 0.3 / V))
    f = surrogates.derivative(surrogates.triangle(0.3, width=1 / V), x / V)
    np.testing.assert_allclose(theirs, f / V, rtol=1e-9, atol=1e-12)


def test_custom_surrogate_takes_any_of_ours(exact, case):
    """Equation 5 in snnTorch, by h(x, grad, spikes) = grad·f(x/v)/v."""
    snntorch, v = pytest.importorskip("snntorch"), 0.75
    f = surrogates.triangle()
    h = lambda x, grad, spikes: grad * torch.tensor(surrogates.derivative(f, x.detach().numpy() / v)) / v
    neuron = snntorch.Leaky(0.875, threshold=v, spike_grad=snntorch.surrogate.custom_surrogate(h)).double()
    current, grad = case(v)
    leaf, spikes, _ = step_by_step(neuron, current)
    (spikes * torch.tensor(grad)).sum().backward()
    same(leaf.grad, ours(exact, current, grad, 0.875, v, f, "delayed", False)[3])
