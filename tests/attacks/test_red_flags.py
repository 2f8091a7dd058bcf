"""Each red flag is raised by the accuracies that it is about, and by no others. tests/attacks/test_suite.py has real networks."""

from types import SimpleNamespace

import numpy as np
import pytest

from minihire.analysis import Score
from minihire.attacks import red_flags

EPSILON = 8 / 255
HEALTHY = {  # images of 100 that each attack leaves, and the shares of the other flags in percent
    "fgsm": 40,
    "pgd-20": 20,
    "apgd-100": 18,
    "apgd-50 strongest": 18,
    "apgd-100 strongest": 18,
    "noise": 60,
    "apgd-100 unbounded": 0,
    "sa-pgd-200": 10,
    "sa-pgd-400": 10,
    "curve": (40, 20, 5, 0),
    "vanished": 0,
    "changed": 0,
    "samples": 1,
    "stages": [],
}


@pytest.fixture
def raised(monkeypatch):
    """raised(**changes of HEALTHY): all flags, as `red_flags` returns them."""

    def flags(**changes):
        values = {**HEALTHY, **changes}
        sizes = [red_flags._at(size) for size in red_flags._sizes(EPSILON)]
        left = {**values, **dict(zip(sizes, values["curve"], strict=True))}
        model = SimpleNamespace(walk=list)  # no neurons of the user's
        network = SimpleNamespace(spiking=True, model=model, view=lambda **_: network)
        monkeypatch.setattr(red_flags, "_zero_gradients", lambda *_: values["vanished"] / 100)
        monkeypatch.setattr(red_flags, "_changed", lambda *_: values["changed"] / 100)
        monkeypatch.setattr(red_flags, "strongest", lambda network: ("member", network))
        score = lambda name, source, attack: Score(left[name.removeprefix("flag: ")], 100)
        probes = SimpleNamespace(network=network, images=None, samples=values["samples"], seed=0, score=score)
        found = SimpleNamespace(stages=values["stages"], robust=np.ones(100, bool))
        return red_flags.red_flags(probes, found, EPSILON)

    return flags


def stage(kind, withstood, name="mine"):
    return {"name": name, "kind": kind, "attacked": 30, "withstood": withstood}


RAISES = [
    ({"fgsm": 18}, "one step beats many"),
    ({"apgd-100": 22}, "APGD weaker than PGD"),
    ({"noise": 18}, "noise beats gradients"),
    ({"stages": [stage("square", 29)]}, "square beats white box"),
    ({"stages": [stage("transfer", 28)]}, "transfer beats white box"),
    ({"apgd-100 unbounded": 2}, "accuracy at unbounded ε"),
    ({"curve": (40, 20, 22, 0)}, "accuracy does not fall with ε"),
    ({"curve": (20, 20, 20, 20)}, "accuracy does not fall with ε"),
    ({"apgd-50 strongest": 20}, "still falling"),
    ({"sa-pgd-200": 12}, "SA-PGD still falling"),
    ({"vanished": 2}, "gradients vanish"),
    ({"changed": 2}, "answers are random"),
    ({"changed": 2, "samples": 9}, "answers are random"),
]
RAISES_NONE = [
    {},
    *(
        {name: value}
        for name, value in (("fgsm", 19), ("apgd-100", 21), ("noise", 19), ("vanished", 1), ("changed", 1))
    ),
    *({name: value} for name, value in (("apgd-100 unbounded", 1), ("apgd-50 strongest", 19), ("sa-pgd-200", 11))),
    {"curve": (40, 20, 21, 0)},
    {"curve": (1, 1, 1, 1)},
    {"changed": 2, "samples": 10},
    {"stages": [stage("square", 30), stage("transfer", 30)]},
    {"stages": [stage("white box", 20, "square-root pgd"), stage("white box", 20, "transfer-like pgd")]},
]


@pytest.mark.parametrize(("changes", "name"), RAISES)
def test_a_changed_value_raises_exactly_its_flag(raised, changes, name):
    assert [flag["name"] for flag in raised(**changes) if flag["up"]] == [name]


@pytest.mark.parametrize("changes", RAISES_NONE)
def test_values_at_the_tolerance_raise_no_flag(raised, changes):
    assert not any(flag["up"] for flag in raised(**changes))


def test_every_flag_is_in_the_table(raised):
    flags = raised(stages=[stage("square", 30), stage("transfer", 30)])
    assert {flag["name"] for flag in flags} == {name for _, name in RAISES}
