"""Operates docs/lif.html like a user: sliders, links, drawing, keys, the questions and their answers."""

import json

import numpy as np
import pytest

KINDS = ("triangle", "unit_triangle", "exponential", "rectangle", "arctan", "straight_through")
SLIDERS = {"level": 0.8, "seed": 3, "leak": 0.6, "threshold": 0.75, "steps": 13, "at": 5, "gamma": 0.7, "width": 1.9}
CHOICES = {
    "input": ("constant", "pulse", "ramp", "random", "drawn"),
    "reset": ("immediate", "delayed"),
    "loss": ("sum", "weighted", "one"),
}


@pytest.mark.slow
def test_every_control_is_labelled_and_works_and_the_address_keeps_it(visit):
    """Sets each control, reads the address, resets the page and opens the address again: the numbers are the same."""
    result = visit(
        f"""const unlabelled = [...document.querySelectorAll("input, select, button, [tabindex]")]
          .filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).map((e) => e.outerHTML);
        const exist = {json.dumps([f"{name}-{value}" for name, values in CHOICES.items() for value in values])}
          .concat(["surrogate", "reset-grad", "hold", "step", "step-range", "current-here", "weight-here", "theme"])
          .filter((id) => !find(id));
        const kinds = [...find("surrogate").options].map((option) => option.value);
        const trips = [];
        const trip = async (what) => {{
          const before = JSON.stringify(shown());
          await wait(400);
          const hash = location.hash.slice(1);
          open_(""); const fresh = JSON.stringify(shown()) !== before;
          open_(hash); trips.push([what, fresh, JSON.stringify(shown()) === before, hash]);
        }};
        for (const end of ["", "-range"]) {{
          open_("input=random&loss=one&at=19"); await wait(300);
          for (const [name, value] of Object.entries({json.dumps(SLIDERS)})) {{
            set(name + end, value);
            if (Number(find(name).value) !== value) throw Error(name + end);
            await trip(name + end);
          }}
        }}
        for (const id of ["input-pulse", "input-ramp", "input-random", "reset-delayed", "loss-one", "reset-grad"]) {{
          open_("reset_grad=0&leak=0.7"); click(id); await trip(id);
        }}
        for (const kind of kinds.slice(1)) {{
          open_(""); set("surrogate", kind, "change"); await trip(kind);
        }}
        open_("step=3"); set("current-here", 1.25); set("weight-here", -0.5); await trip("boxes");
        const boxes = [shown().I[3], shown().g[3]];
        open_(""); click("input-drawn"); click("loss-weighted");
        const same = JSON.stringify(shown()); open_(""); const kept = same === JSON.stringify(shown());
        const themes = [];
        for (const press of [1, 2]) {{ click("theme"); themes.push(document.documentElement.dataset.theme); }}
        return {{ unlabelled, exist, kinds, trips, boxes, kept, themes }};"""
    )
    assert result["unlabelled"] == [] and result["exist"] == []
    assert tuple(result["kinds"]) == KINDS
    assert len(result["trips"]) == 2 * len(SLIDERS) + 6 + 5 + 1
    for what, fresh, same, address in result["trips"]:
        assert fresh and same, (what, address)
    assert result["boxes"] == [1.25, -0.5] and result["kept"] and set(result["themes"]) == {"dark", "light"}


@pytest.mark.slow
def test_drawing_pointing_and_keys(visit):
    """Dragging over the current sets every step that is crossed; arrow keys choose and change; a click keeps the step."""
    result = visit(
        """const at = (id, type, t, y) => {
          const svg = find(id), box = svg.getBoundingClientRect(), p = svg.plot;
          const place = { clientX: box.left + p.left + (t + 0.5) * p.cell, clientY: box.top + p.Y(y) };
          svg.dispatchEvent(new PointerEvent(type, { ...place, pointerType: "mouse" }));
        };
        const step = () => Number(find("step").value), I = "plot-current", m = "plot-membrane";
        at(I, "pointerdown", 2, 0.8); at(I, "pointermove", 6, 0.6); at(I, "pointerup", 6, 0.6);
        const drawn = shown().I.slice(0, 8), chosen = step();
        at("plot-weights", "pointerdown", 4, -1); at("plot-weights", "pointerup", 4, -1);
        const weighted = shown().g.slice(3, 6);
        at(m, "pointermove", 11, 0.5); const over = step();
        at(m, "pointerdown", 9, 0.5); at(m, "pointerup", 9, 0.5); at(m, "pointermove", 12, 0.5); const held = step();
        key(m, "ArrowRight"); key(m, "ArrowRight"); key(m, "ArrowLeft"); const moved = step();
        key(m, "End"); key(m, "ArrowRight"); const last = step(); key(m, "Home"); const first = step();
        key(I, "ArrowUp"); key(I, "ArrowUp"); key(I, "ArrowDown"); key(I, "PageUp");
        key("plot-weights", "ArrowDown");
        return { drawn, chosen, weighted, over, held, moved, last, first, up: shown().I[0], down: shown().g[0],
          said: find(m).getAttribute("aria-valuetext"),
          equations: find("forward-equations").textContent };"""
    )
    assert result["drawn"] == [0.35, 0.35, 0.8, 0.6, 0.6, 0.6, 0.6, 0.35] and result["chosen"] == 6
    assert result["weighted"] == [1, -1, 1]
    assert [result[name] for name in ("over", "held", "moved", "last", "first")] == [11, 9, 10, 19, 0]
    assert result["up"] == pytest.approx(0.9) and result["down"] == pytest.approx(0.95)
    assert result["said"].startswith("step 0: current 0.9, membrane 0.9, no spike")
    assert "m[0] = λ·u[−1] + I[0]= 0.9·0 + 0.9 = 0.9" in result["equations"]


@pytest.mark.slow
def test_the_answers_to_the_questions_are_right(visit):
    """The numbers in "What to see" of each "Try this" are those that the page shows."""
    result = visit(
        """const after = (name, ...moves) => {
          click("try-" + name);
          for (const [id, value] of moves) value === undefined ? click(id) : set(id, value);
          return shown();
        };
        return { dead: [0.09, 0.1, 0.101, 0.102].map((x) => after("dead-zone", ["level", x])),
          threshold: [1, 1.01, 0.99].map((x) => after("threshold", ["level", x])),
          resets: [[], [["reset-delayed"]], [["leak", 1]], [["leak", 1], ["reset-delayed"]]]
            .map((moves) => after("resets", ...moves)),
          window: [-0.2, 0.01, 0.5, 2.2].map((x) => after("window", ["level", x])),
          memory: [0, 0.7, 0.9, 1].map((x) => after("memory", ["leak", x])),
          through: [after("through"), after("through", ["reset-grad"]), after("through", ["reset-grad"], ["threshold", 0.5])],
          questions: document.querySelectorAll("#prompts button").length };"""
    )
    assert 3 <= result["questions"] <= 6
    assert [sum(page["s"]) for page in result["dead"]] == [0, 0, 0, 1]
    at, above, below = result["threshold"]
    assert sum(at["s"]) == sum(below["s"]) == 0 and sum(above["s"]) == 10 and len(above["s"]) == 10
    assert max(at["f"]) == min(at["f"]) == 0.3 and above["f"][0] == pytest.approx(0.3, rel=0.02)
    now, late, now1, late1 = result["resets"]
    assert (sum(now["s"]), sum(late["s"])) == (20, 14) and now1["s"] == late1["s"]
    assert [any(page["d"]) for page in result["window"]] == [False, True, True, False]
    assert sum(result["window"][0]["s"]) == 0 and sum(result["window"][3]["s"]) == 20
    for lam, page in zip((0, 0.7, 0.9, 1), result["memory"], strict=True):
        np.testing.assert_allclose(page["d"], float(lam) ** np.arange(19, -1, -1) * page["d"][-1], rtol=1e-12)
        assert page["d"][-1] > 0
    constant, through, half = (page["d"] for page in result["through"])
    assert all(np.diff(constant) <= 0) and constant[0] > 5
    assert through[0] == pytest.approx(1, abs=0.01) and half[0] == pytest.approx(2, abs=0.02)


@pytest.mark.slow
def test_a_broken_link_opens_the_neuron_within_its_bounds(visit):
    """Unknown settings in the address are ignored; numbers out of bounds are clipped."""
    address = (
        "leak=7&threshold=-1&steps=1e9&reset=later&surrogate=__proto__&width=NaN&input=drawn&current=a,,9e9&try=x&at=-3"
    )
    result = visit(
        """const boxes = ["leak", "threshold", "steps", "width", "surrogate"].map((id) => find(id).value);
        return [...boxes, shown().I.slice(0, 4)];""",
        address=address,
    )
    assert result == ["1", "0.05", "40", "1", "triangle", [0, 0, 5, 0]]
