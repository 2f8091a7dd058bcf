"""docs/lif.html: compares the page's neuron and numbers with the reference backend; checks the layout at several widths."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from backends import surrogates

PAGE = Path(__file__).parents[2] / "docs" / "lif.html"


def engine(exact, case):
    """The same neuron by the reference backend: m, s, d [T], ∂L/∂λ and ∂L/∂v of Σ g[t]·s[t]."""
    column = lambda values: np.array(values, np.float64).reshape(-1, 1, 1)
    leak, threshold = np.array([case["leak"]], np.float64), np.array([case["threshold"]], np.float64)
    current = column(case["I"])
    spikes, _, saved = exact.lif_forward(current, None, leak, threshold, len(current), reset=case["reset"])
    surrogate = getattr(surrogates, case["surrogate"])(*case["arguments"])
    membrane = saved.open().membrane
    d, _, grad_leak, grad_threshold = exact.lif_backward(
        saved, column(case["g"]), None, surrogate, case.get("reset_grad", False)
    )
    return membrane.ravel(), spikes.ravel(), d.ravel(), grad_leak[0], grad_threshold[0]


def equal(got, expected):
    """Forward bit-identical; gradients to 1e-12, sums over time relative to the sum of magnitudes."""
    m, s, d, leak, threshold = expected
    np.testing.assert_array_equal(got["m"], m)
    np.testing.assert_array_equal(got["s"], s)
    np.testing.assert_allclose(got["d"], d, rtol=1e-12, atol=1e-12 * np.abs(d).max())
    size = np.abs(d).sum()
    np.testing.assert_allclose([got["leak"], got["threshold"]], [leak, threshold], rtol=1e-12, atol=1e-12 * size)


KINDS = {  # Python's name: (JavaScript's name, its arguments' bounds)
    "triangle": ("triangle", [(0.1, 1.5), (0.3, 3)]),
    "unit_triangle": ("unitTriangle", [(0.3, 3)]),
    "exponential": ("exponential", [(0.3, 4)]),
    "rectangle": ("rectangle", [(0.3, 4)]),
    "arctan": ("arctan", [(0.3, 4)]),
    "straight_through": ("straightThrough", []),
}


def random_cases():
    rng = np.random.default_rng(6)
    for name, (script_name, bounds) in KINDS.items():
        for reset in ("immediate", "delayed"):
            for reset_grad in (False, True):
                for steps in (1, 2, 7, 40, int(rng.integers(3, 40))):
                    yield {
                        "I": rng.uniform(-0.5, 1.8, steps).tolist(),
                        "g": rng.standard_normal(steps).tolist(),
                        "leak": float(rng.choice([0.0, 1.0, *rng.uniform(0.2, 1, 3)])),
                        "threshold": float(rng.uniform(0.2, 2)),
                        "reset": reset,
                        "reset_grad": reset_grad,
                        "surrogate": name,
                        "function": script_name,
                        "arguments": [float(rng.uniform(*pair)) for pair in bounds],
                    }


@pytest.mark.slow
def test_the_neuron_of_the_page_equals_the_reference(visit, exact):
    """120 random neurons: six surrogates, both resets, the reset's gradient on and off, T from 1 to 40."""
    cases = list(random_cases())
    found = visit(
        f"""const cases = {json.dumps(cases)}, n = window.minihireNeuron;
        return cases.map((c) => {{
          const saved = n.lifForward(c.I, c.leak, c.threshold, c.reset);
          const back = n.lifBackward(saved, c.g, n[c.function](...c.arguments), c.reset_grad);
          return {{ m: saved.m, s: saved.s, u: saved.u, d: back.d, leak: back.gradLeak, threshold: back.gradThreshold }};
        }});"""
    )
    assert len(found) == len(cases) == 120
    fired = 0
    for case, got in zip(cases, found, strict=True):
        m, s, *_ = expected = engine(exact, case)
        equal(got, expected)
        np.testing.assert_array_equal(got["u"], m - case["threshold"] * s if case["reset"] == "immediate" else m)
        fired += s.mean() / len(cases)
    assert 0.1 < fired < 0.9


DRAWN = "input=drawn&current=0.3,1.2,-0.4,0.05,0.8,0.8,0.8,2.5&steps=8"
LINKS = {  # what a lecturer may link, and the settings of it that the engine needs
    "": ("triangle", [0.3, 1.0], {}),
    "input=ramp&level=1.5&steps=12&reset=delayed&reset_grad=1": (
        "triangle",
        [0.3, 1.0],
        {"reset": "delayed", "reset_grad": True},
    ),
    "input=random&level=0.6&seed=7&steps=40&leak=0.55&threshold=0.8&surrogate=exponential&width=1.7&loss=one&at=30": (
        "exponential",
        [1.7],
        {"leak": 0.55, "threshold": 0.8},
    ),
    "input=pulse&level=1.3&steps=16&surrogate=arctan&width=3&leak=1&reset_grad=1": (
        "arctan",
        [3.0],
        {"leak": 1.0, "reset_grad": True},
    ),
    f"{DRAWN}&loss=weighted&weights=1,-1,0.5,0,0,1,2,1&surrogate=rectangle&width=1.5&threshold=0.7": (
        "rectangle",
        [1.5],
        {"threshold": 0.7},
    ),
    f"{DRAWN}&surrogate=unit_triangle&width=2": ("unit_triangle", [2.0], {}),
    f"{DRAWN}&surrogate=triangle&gamma=0.5&width=2": ("triangle", [0.5, 2.0], {}),
    f"{DRAWN}&surrogate=straight_through&reset=delayed": ("straight_through", [], {"reset": "delayed"}),
}


@pytest.mark.slow
def test_what_the_page_shows_of_a_link_is_the_engine_s(visit, exact):
    """The table, the loss and the gradients of λ and v, in full precision behind the rounded text."""
    pages = visit(f"return {json.dumps(list(LINKS))}.map((hash) => {{ open_(hash); return shown(); }});")
    for got, (name, arguments, settings) in zip(pages, LINKS.values(), strict=True):
        case = {"leak": 0.9, "threshold": 1.0, "reset": "immediate", "surrogate": name, "arguments": arguments}
        case |= {"I": got["I"], "g": got["g"], **settings}
        m, s, *_ = expected = engine(exact, case)
        equal(got, expected)
        z = m / case["threshold"] - 1
        np.testing.assert_array_equal(got["z"], z)
        f = surrogates.derivative(getattr(surrogates, name)(*arguments), z)
        np.testing.assert_allclose(got["f"], f, rtol=1e-12)
        assert got["loss"] == pytest.approx(np.dot(got["g"], s), rel=1e-12)
    constant, ramp, noise, pulse, drawn, *_ = (np.array(page["I"]) for page in pages)
    assert constant.tolist() == [0.35] * 20
    np.testing.assert_allclose(ramp, np.linspace(0, 1.5, 12), rtol=1e-12)
    assert len(set(noise)) > 20 and noise.min() >= 0 and noise.max() <= 1.2 and 0.4 < noise.mean() < 0.8
    assert pulse.tolist() == [0.0] * 4 + [1.3] * 4 + [0.0] * 8
    assert drawn.tolist() == [0.3, 1.2, -0.4, 0.05, 0.8, 0.8, 0.8, 2.5]
    sums, _, one, _, weighted, *_ = (page["g"] for page in pages)
    assert sums == [1] * 20 and np.flatnonzero(one).tolist() == [30] and weighted == [1, -1, 0.5, 0, 0, 1, 2, 1]


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 800, 1200])
def test_nothing_is_wider_than_the_window(visit, width):
    """At the width of a phone, a tablet and a laptop, with the table open and with the longest numbers."""
    links = ["", "try=resets&hold=1", "steps=40&step=39&reset=delayed&reset_grad=1&surrogate=arctan&level=-0.123456789"]
    result = visit(
        f"""const seen = [];
        for (const hash of {json.dumps(links)}) {{
          open_(hash); document.querySelectorAll("details").forEach((fold) => (fold.open = true)); await wait(50);
          seen.push([innerWidth, document.documentElement.scrollWidth, document.body.scrollWidth]);
        }}
        return seen;""",
        width,
    )
    assert len(result) == len(links)
    for inner, *wide in result:
        assert inner == width and max(wide) <= width


def test_the_page_needs_no_network():
    page = PAGE.read_text(encoding="utf-8")
    assert not re.findall(
        r"https?://|//cdn|@import|url\(|fetch\(|XMLHttpRequest|<script[^>]+src|<link[^>]+stylesheet", page
    )
    links = [link for link in re.findall(r'href="([^"#]+)"', page) if not link.startswith("data:")]
    assert links and all((PAGE.parent / link).exists() for link in links)
