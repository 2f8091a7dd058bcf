"""The evaluation of robustness: a cascade that resumes, never looks better than parity, and is not deceived by planted cheats."""

import json
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from backends import get_backend, surrogates
from minihire import Calibration, CraftedNoise, Recipe, build, convert, initialise, load_data, train
from minihire.analysis.accuracy import accuracy, predict
from minihire.analysis.statistics import Score
from minihire.attacks import (
    MEMBERS,
    Attack,
    apgd,
    attack_accuracy,
    curves,
    evaluate_robustness,
    fgsm,
    pace,
    pgd,
    probes,
    red_flags,
    suite,
    suite_state,
)
from minihire.data.batches import Batches
from minihire.engine import Variable
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import Interrupted
from minihire.runtime.progress import Progress, duration


@pytest.fixture
def short(monkeypatch):
    """Suites of few iterations."""
    for name, value in {
        "PGD_STEPS": 2,
        "APGD_STEPS": 4,
        "SA_PGD_STEPS": (3, 4),
        "RESTARTS": 2,
        "QUERIES": {"small": 4, "full": 6},
    }.items():
        monkeypatch.setattr(suite, name, value)
    monkeypatch.setattr(red_flags, "COMPARED_STEPS", (3, 4))


@pytest.fixture
def numba():
    return get_backend("numba", threads=1)


def evaluate(network, data, kind="strong", epsilon=0.02, **options):
    return evaluate_robustness(network, data, kind, epsilon=epsilon, **options)


def own_answers(network, data):
    """The images with the network's answers as labels, so that an untrained network is right."""
    images, _ = Batches(data, network.backend, len(data)).load(0, 0)
    return replace(data, labels=predict(network, images))


def up(found):
    return {flag["name"] for flag in found.flags if flag["up"]}


# ---------------------------------------------------------------- the cascade


@pytest.mark.parametrize("kind", ["direct", "ann", "rate"])
def test_counts_never_rise_and_strong_is_at_most_parity(short, numba, network, data, kind):
    net = network(numba, kind)
    data = own_answers(net, data)
    parity, strong = (evaluate(net, data, name, flags=False, seed=2) for name in ("parity", "strong"))
    assert [row["name"] for row in parity.stages] == ["fgsm", "pgd-7"] == [row["name"] for row in strong.stages[:2]]
    for found in (parity, strong):
        left = int(found.clean.sum())
        for row in found.stages:
            assert row["attacked"] == left and 0 <= row["withstood"] <= left
            left = row["withstood"]
        assert left == found.robust.sum() and not (found.robust & ~found.clean).any()
    assert np.array_equal(parity.clean, strong.clean) and not (strong.robust & ~parity.robust).any()
    assert not strong.established and not parity.established  # without flags nothing is established


def test_the_small_budget_has_every_member_and_the_full_one_targets_through_each(network, data):
    net = network(get_backend("reference"))
    names = {b: [s.name for s in suite.stages(net, "strong", b, 0.1, [("ann", net)], 1)] for b in ("small", "full")}
    for member in ("own", *(m.name for m in MEMBERS)):
        assert names["small"].count(f"pgd-20 {member}") == 5 and names["small"].count(f"apgd-100 {member}") == 1
    targeted = {b: [name for name in found if "targeted" in name] for b, found in names.items()}
    assert targeted["small"] == ["apgd-targeted-100 own"] and len(targeted["full"]) == 1 + len(MEMBERS)
    assert names["small"][-3:] == ["transfer pgd-20 ann", "transfer apgd-100 ann", "square-1000"]
    assert names["full"][-1] == "square-5000" and "noise" in names["small"]
    kinds = [stage.kind for stage in suite.stages(net, "strong", "small", 0.1, [("ann", net)], 1)]
    assert kinds[-3:] == ["transfer", "transfer", "square"] and {*kinds[:-3]} == {"white box"}
    assert names["small"].index("sa-pgd-400") == names["small"].index("sa-pgd-100") + 1


def test_the_full_budget_repeats_sa_pgd_and_attacks_with_other_time_steps(network):
    net = network(get_backend("reference")).view(steps=5)
    found = {b: suite.stages(net, "strong", b, 0.1, [("two", net)], 1) for b in ("small", "full")}
    more = [stage for stage in found["full"] if stage.label not in {other.label for other in found["small"]}]
    by_name = {stage.label: stage for stage in more if "targeted" not in stage.name}
    assert [*by_name] == [
        "sa-pgd-400, restart 1",
        "sa-pgd-400 dlr",
        "apgd-100 arctan-2, T = 2",
        "apgd-100 arctan-2, T = 10",
        "transfer sa-pgd-100 two",
        "square-5000",
    ]
    assert by_name["sa-pgd-400 dlr"].attack.loss == "dlr"
    sources = [by_name[f"apgd-100 arctan-2, T = {steps}"].source for steps in (2, 10)]
    assert [(source.steps, source.neuron.surrogate.kind) for source in sources] == [(2, "arctan"), (10, "arctan")]
    assert all(source.parameters is net.parameters for source in sources) and net.steps == 5
    relu = next(member for member in MEMBERS if member.relu)  # it has no time steps
    names = [stage.name for stage in suite.stages(net.view(steps=1), "strong", "full", 0.1, [], 1, [relu, MEMBERS[0]])]
    assert [name for name in names if "T =" in name] == ["apgd-100 arctan-2, T = 2"]


@dataclass(frozen=True)
class Black(Attack):
    """Replaces every image by a black one."""

    def attacker(self, network):
        return lambda images, labels, draws: network.backend.zeros(images.shape)


def test_further_attacks_run_last_and_count(numba, network, data, tmp_path):
    net = network(numba)
    data, own = own_answers(net, data), Black("black", 0.02, 0.0, 1)
    plain, found = (evaluate(net, data, "parity", attacks=attacks) for attacks in ((), [own]))
    assert [row["name"] for row in found.stages] == ["fgsm", "pgd-7", "black"]
    answers = attack_accuracy(net, data, own)
    assert np.array_equal(found.robust, plain.robust & answers) and found.robust.sum() < plain.robust.sum()
    evaluate(net, data, "parity", attacks=[own], folder=tmp_path)
    with pytest.raises(MinihireError, match="is of another evaluation"):
        evaluate(net, data, "parity", attacks=[replace(own, alpha=0.01)], folder=tmp_path)
    for attacks, said in (
        ([replace(own, epsilon=0.03)], "has ε = 0.03, the suite ε = 0.02: give both the same"),
        ([own, own], "two results of the suite have the name 'black'"),
        ([replace(own, name="pgd-7")], "two results of the suite have the name 'pgd-7'"),
        ([replace(own, name="clean")], "two results of the suite have the name 'clean'"),
    ):
        with pytest.raises(MinihireError, match=said):
            evaluate(net, data, "parity", attacks=attacks)


@pytest.mark.slow
def test_a_network_with_time_chunks_goes_through_the_whole_suite(short, numba, network, data):
    net = network(numba).view(time_chunk=1)
    assert suite.stages(net, "strong", "small", 0.03, [], 1)[0].source.time_chunk == 1
    found = evaluate(net, own_answers(net, data), epsilon=0.0, flags=False)
    assert "sa-pgd" in " ".join(row["name"] for row in found.stages)


def test_an_ensemble_of_few_members_has_no_others(network):
    found = suite.stages(network(get_backend("reference")), "strong", "small", 0.03, [], 1, MEMBERS[:2])
    names = {stage.name.removeprefix("apgd-100 ") for stage in found if stage.name.startswith("apgd-100 ")}
    assert names == {"own", *(member.name for member in MEMBERS[:2])}


def test_the_work_is_counted_for_the_images_that_are_attacked(short, numba, network, data):
    net = network(numba)
    found = evaluate(net, own_answers(net, data), epsilon=0.0, flags=False, sources=[("ann", network(numba, "ann"))])
    rows = {row["name"]: row for row in found.stages}
    assert all(row["attacked"] == row["withstood"] == 12 for row in found.stages)  # ε = 0 changes nothing
    assert (rows["pgd-7"]["gradients"], rows["pgd-7"]["queries"]) == (12 * 7, 12)
    assert (rows["apgd-targeted-4 own"]["gradients"], rows["square-4"]["queries"]) == (12 * 4 * 3, 12 * 5)
    assert (rows["apgd-targeted-4 own"]["queries"], rows["apgd-4 own"]["queries"]) == (12 * (1 + 3 * 2 + 1), 12 * 2)
    content = json.loads(json.dumps(found.as_dict()))
    assert content["transfer"] == ["ann"] and content["gradients"] == sum(row["gradients"] for row in found.stages)
    assert content["robust"]["low"] < content["robust"]["accuracy"] == 1.0


def test_the_parity_suite_reports_no_transfer(numba, network, data):
    found = evaluate(network(numba), data, "parity", sources=[("ann", network(numba, "ann"))])
    assert found.as_dict()["transfer"] == "not run" and len(found.stages) <= 2


def test_draws_count_only_where_spikes_are_random(short, numba, network, data):
    rows = {}
    for kind in ("direct", "rate"):
        rows[kind] = evaluate(network(numba, kind), data, "parity", epsilon=0.0, samples=3).stages[0]
    assert [row["gradients"] / row["attacked"] for row in rows.values()] == [1, 3]
    sources = [("rate", network(numba, "rate"))]
    (stage,) = [
        s for s in suite.stages(network(numba), "strong", "small", 0.1, sources, 3) if s.name == "transfer pgd-2 rate"
    ]
    assert stage.attack.samples == 3


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"kind": "weak"}, "a suite is parity or strong and a budget small or full, not 'weak' and 'small'"),
        ({"budget": "huge"}, "not 'strong' and 'huge'"),
        ({"sources": ("a", "a")}, "two sources have the same name among a, a: give each its own"),
        ({"epsilon": 8}, "the attack's ε is 8"),
    ],
)
def test_wrong_arguments_are_refused_before_the_first_attack(network, data, change, sentence):
    net = network(get_backend("reference"))
    change = {**change, "sources": [(name, net) for name in change.get("sources", ())]}
    with pytest.raises(MinihireError, match=sentence):
        evaluate(net, data, **change)
    with pytest.raises(MinihireError, match="give a network for this data set"):
        evaluate(net, data, sources=[("other", network(net.backend, classes=5))])


# ---------------------------------------------------------------- the state


@pytest.mark.slow
@pytest.mark.parametrize("stopped_after", [1, 2, 11, 30])
def test_an_interrupted_suite_resumes_with_the_same_result(
    short, numba, network, data, monkeypatch, tmp_path, stopped_after
):
    """Also in the middle of an attack: batches have 5 images here, and a batch is the unit of `Progress.add`."""
    net = network(numba)
    data, calls, add = own_answers(net, data), [], Progress.add
    monkeypatch.setattr(suite, "attack_accuracy", small_batches(suite.attack_accuracy))
    whole = evaluate(net, data, flags=False)
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(
            Progress,
            "add",
            lambda *args: (
                calls.append(1),
                len(calls) == stopped_after and signal.raise_signal(signal.SIGINT),
                add(*args),
            ),
        )
        evaluate(net, data, flags=False, folder=tmp_path / "state")
    before = json.loads((tmp_path / "state" / "suite.json").read_text())
    assert (tmp_path / "state" / "suite.npz").exists()  # after its last batch, too
    found = evaluate(net, data, flags=False, folder=tmp_path / "state")
    assert found.stages == whole.stages and np.array_equal(found.robust, whole.robust)
    assert found.seconds > before["seconds"] > 0
    assert not (tmp_path / "state" / "suite.npz").exists()
    again = evaluate(net, data, flags=False, folder=tmp_path / "state")  # everything is stored
    assert again.stages == whole.stages and again.seconds > before["seconds"]
    suite_state.forget(tmp_path / "state")
    assert list(tmp_path.iterdir()) == []


def small_batches(function):
    return lambda *arguments, **options: function(*arguments, **{**options, "batch_size": 5})


@pytest.mark.slow
def test_flags_resume_too(short, numba, network, data, monkeypatch, tmp_path):
    net, seen = network(numba), []
    data = own_answers(net, data)
    found = evaluate(net, data, folder=tmp_path)
    state = json.loads((tmp_path / "suite.json").read_text())
    assert sum(label.startswith("flag: ") for label in state["answers"]) > 9
    monkeypatch.setattr("minihire.attacks.probes.attack_accuracy", lambda *a, **_: seen.append(1))
    assert evaluate(net, data, folder=tmp_path).flags == found.flags and seen == []


def test_a_damaged_state_or_one_of_another_evaluation_is_one_sentence(numba, network, data, tmp_path):
    net, path = network(numba), tmp_path / "suite.json"
    evaluate(net, data, "parity", folder=tmp_path, about="mine")
    good = path.read_text()
    content = json.loads(good)
    bits = content["answers"]["clean"]
    flipped = f"{int(bits[0], 16) ^ 1:x}{bits[1:]}"
    del content["checksum"]
    wrong = [
        "",
        good.replace(f'"clean": "{bits}"', f'"clean": "{flipped}"'),
        good[:-1],
        "[" * 100_000,
        json.dumps({**content, "answers": {"clean": "00"}}),
        json.dumps({**content, "answers": {"clean": 3}}),
        json.dumps({**content, "answers": []}),
        json.dumps({**content, "seconds": float("nan")}),
        json.dumps({**content, "seconds": None}),
    ]
    for text in wrong:
        path.write_text(text)
        with pytest.raises(MinihireError) as caught:
            evaluate(net, data, "parity", folder=tmp_path, about="mine")
        assert str(caught.value) == f"{path} is damaged: delete it, and the suite starts again"
    for text in ("[]", '"text"', json.dumps({"key": content["key"]}), json.dumps({**content, "more": 1})):
        path.write_text(text)
        with pytest.raises(
            MinihireError, match="suite.json is not the state of a suite: move it, or write the result to"
        ):
            evaluate(net, data, "parity", folder=tmp_path, about="mine")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(MinihireError, match="is damaged"):
        evaluate(net, data, "parity", folder=tmp_path, about="mine")
    path.write_text(good)
    dark, other_net = replace(data, images=data.images // 2), network(numba, seed=2)
    strange = [MEMBERS[0]._replace(reset_grad=True)]
    for other in (
        {"about": "yours"},
        {"epsilon": 0.03},
        {"seed": 1},
        {"kind": "strong"},
        {"network": other_net},
        {"data": dark},
        {"members": strange},
    ):
        with pytest.raises(MinihireError) as caught:
            given = {"network": net, "data": data, "kind": "parity", "folder": tmp_path, "about": "mine"}
            evaluate(**given | other)
        assert (
            str(caught.value)
            == f"{path} is of another evaluation: delete it, or write the result to another file or folder"
        )


# ---------------------------------------------------------------- curves, and the time left


@pytest.fixture
def short_curves(short, monkeypatch):
    """Curves of few iterations."""
    monkeypatch.setattr(curves, "STEPS", (1, 3, 100))
    monkeypatch.setattr(curves, "STEPS_PER_SIZE", 6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["direct", "ann"])
def test_the_full_budget_has_curves_over_steps_and_over_epsilon(short_curves, numba, network, data, kind):
    net = network(numba, kind)
    data = own_answers(net, data)
    found = json.loads(json.dumps(evaluate(net, data, budget="full", epsilon=0.05).as_dict()))["curves"]
    assert found["attack"] == "apgd" and found["member"] == ("own" if kind == "ann" else MEMBERS[0].name)
    assert [row["steps"] for row in found["steps"]] == [1, 3, 100]
    assert [row["epsilon"] for row in found["epsilon"]] == [0.0, *curves.sizes(0.05)][: len(found["epsilon"])]
    assert found["epsilon"][0]["correct"] == 12  # the clean images
    falling = [row["correct"] for row in found["epsilon"]]
    assert all(falling[:-1]) and (falling[-1] == 0 or found["epsilon"][-1]["epsilon"] == 1)
    for row in found["steps"] + found["epsilon"]:
        score = Score(row["correct"], 12)
        assert {**score.as_dict(), **row} == row
    source = net if kind == "ann" else MEMBERS[0].source(net)
    answers = attack_accuracy(net, data, apgd(0.05, 3), source=source)
    assert found["steps"][1]["correct"] == answers.sum()


@pytest.mark.slow
def test_without_the_full_budget_or_the_flags_there_are_no_curves(short_curves, numba, network, data):
    net = network(numba)
    assert evaluate(net, data, budget="full", flags=False).as_dict()["curves"] == {}
    assert evaluate(net, data).as_dict()["curves"] == {}


def test_the_sizes_are_those_of_every_network_and_its_own():
    levels = [size * 255 for size in curves.sizes(8 / 255)]
    assert levels == pytest.approx([0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 255]) and 8 / 255 in curves.sizes(8 / 255)
    assert curves.sizes(0.0) == curves.sizes(1.0) == curves.sizes(8 / 255)
    assert 0.3 in curves.sizes(0.3) and len(curves.sizes(0.3)) == len(levels) + 1


def test_answers_of_a_suite_s_attack_are_kept_until_they_are_in_its_state(tmp_path, network, data, monkeypatch):
    net, key = network(get_backend("reference")), {"images": len(data)}

    def once(state):
        return state.once("fgsm", lambda: suite.attack_accuracy(net, data, fgsm(), **state.partial("fgsm")))

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(suite_state.State, "_save", lambda self: (_ for _ in ()).throw(SystemExit))
        once(suite_state.State(tmp_path, key, net.backend.services))
    monkeypatch.setattr(Progress, "add", None)  # no batch is attacked again
    answers = once(suite_state.State(tmp_path, key, net.backend.services))
    assert len(answers) == len(data) and [path.name for path in tmp_path.iterdir()] == ["suite.json"]


def test_answers_that_a_finished_attack_of_the_suite_left_do_not_stop_the_next_attack(
    tmp_path, network, data, monkeypatch
):
    """A kill between writing the state and deleting the answers leaves them."""
    net, key = network(get_backend("reference")), {"images": len(data)}

    def once(label, attack):
        state = suite_state.State(tmp_path, key, net.backend.services)
        return state.once(label, lambda: suite.attack_accuracy(net, data, attack, **state.partial(label)))

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
        once("first", fgsm())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["suite.json", "suite.npz"]
    assert np.array_equal(once("second", pgd(iterations=2)), suite.attack_accuracy(net, data, pgd(iterations=2)))
    assert [path.name for path in tmp_path.iterdir()] == ["suite.json"]


@pytest.mark.slow
def test_curves_resume_and_share_the_answers_of_the_flags(short_curves, numba, network, data, monkeypatch, tmp_path):
    """The 100 steps at this ε are an attack of a red flag too. Batches have 5 images here."""
    net, add, labels = network(numba), Progress.add, []
    data = own_answers(net, data)
    monkeypatch.setattr(probes, "attack_accuracy", small_batches(probes.attack_accuracy))
    whole = evaluate(net, data, budget="full")

    def stop_in_a_curve(progress, *arguments):
        labels.append(progress.label)
        if labels.count("curve: apgd-3 strongest") == 2:
            signal.raise_signal(signal.SIGINT)
        return add(progress, *arguments)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(Progress, "add", stop_in_a_curve)
        evaluate(net, data, budget="full", folder=tmp_path)
    state = json.loads((tmp_path / "suite.json").read_text())["answers"]
    assert "curve: apgd-1 strongest" in state and "curve: apgd-3 strongest" not in state
    assert (tmp_path / "suite.npz").exists()
    assert evaluate(net, data, budget="full", folder=tmp_path).curves == whole.curves
    state = json.loads((tmp_path / "suite.json").read_text())["answers"]
    assert "flag: apgd-100 strongest" in state and "curve: apgd-100 strongest" not in state


def test_the_time_left_has_the_cascade_the_flags_and_the_curves():
    left = pace.Pace(classes=4, images=200)
    assert left.left([pgd(0.1, iterations=7)], 10) == ""  # nothing was measured
    left.add(pgd(0.1, iterations=3), images=30, seconds=10.0)  # 30 × (3 + 1/3) = 100 gradient evaluations
    assert left.left([fgsm(0.1)], 30) == "; at most 4 s left"
    assert left.left([fgsm(0.1)], 30, [pgd(0.1, iterations=8)]) == f"; at most {duration(4 + 200 * 25 / 3 * 0.1)} left"
    left.add(pgd(0.1, iterations=3), images=3, seconds=3.0)  # slower, so the mean pace holds for the 200 images
    mean = 13 / 110
    assert left.left([], 0, [pgd(0.1, iterations=8)]) == f"; at most {duration(200 * 25 / 3 * mean)} left"
    left.add(fgsm(0.1), images=3, seconds=0.001)  # read from the state
    assert left.left([fgsm(0.1)], 30) == ""


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["small", "full"])
def test_after_the_last_attack_the_flags_and_curves_are_left(short_curves, numba, network, data, monkeypatch, budget):
    """Every reading of the clock is one second later, so that each stage takes a second."""
    said, seconds = [], iter(range(100_000))
    monkeypatch.setattr(suite, "say", said.append)
    monkeypatch.setattr(suite, "perf_counter", lambda: float(next(seconds)))
    monkeypatch.setattr(pace, "duration", lambda seconds: f"{seconds:.3f}")
    net = network(numba)
    stages = evaluate(net, own_answers(net, data), epsilon=0.0, budget=budget).stages
    *_, last, flags = said
    assert last.startswith(f"square-{suite.QUERIES[budget]}: 12 of 12 images withstand (100.0%); at most ")
    work = [row["gradients"] + row["queries"] / 3 for row in stages]
    second = min(len(work) / sum(work), 1 / work[-1])  # per gradient evaluation: the mean, or of the last attack
    gradients = [
        1,
        20,
        100,
        50,
        100,
        100,
        20,
        *red_flags.COMPARED_STEPS,
    ]  # of the flags; at ε = 0 all four sizes are one; noise has no gradient
    forwards = [1, 1, 2, 2, 2, 2, 1, 2, 2, 1]  # two of an attack that remembers its best images, and one of noise
    for_flags = 12 * (sum(gradients) + sum(forwards) / 3)
    gradients = [1, 3, 100, *(len(curves.sizes(0.0)) * [6])] if budget == "full" else []  # of the curves
    for_curves = 12 * (sum(gradients) + 2 * len(gradients) / 3)
    assert float(last.split()[-2]) == pytest.approx((for_flags + for_curves) * second, rel=1e-3)
    assert flags.startswith("red flags: ") and ("left" in flags) == (budget == "full")
    if budget == "full":
        assert float(flags.split()[-2]) == pytest.approx(for_curves * second, rel=1e-3)


# ---------------------------------------------------------------- planted cheats, and an honest network


def four_shapes(data):
    """Images of 8×8 pixels and four of the shapes."""
    data = data.take(np.flatnonzero(data.labels < 4))
    images = data.images.reshape(len(data), 8, 4, 8, 4, 3).mean((2, 4)).round().astype(np.uint8)
    return replace(data, images=images, classes=data.classes[:4])


@pytest.fixture(scope="module")
def trained():
    """A small SNN that HIRE trained on shapes, and 30 test images."""
    k, shapes = get_backend("numba", threads=1), load_data("shapes", train_limit=800, test_limit=100)
    images, model = four_shapes(shapes.train), build("vgg5", 4, (8, 8, 3), width=1 / 8, hidden=32)
    Progress.quiet, before = True, Progress.quiet
    try:
        ann = Network(model, k, initialise(model, k, seed=0))
        train(ann, Recipe(epochs=40, batch_size=32, optimiser="adam", learning_rate=2e-3), images)
        snn = convert(ann, images, steps=4, calibration=Calibration(images=60, steps=20))
        train(snn, Recipe(epochs=15, batch_size=32, learning_rate=1e-3, noise=CraftedNoise(0.01, 0.01)), images)
    finally:
        Progress.quiet = before
    return snn, four_shapes(shapes.test).limit(30)


@pytest.fixture
def quick_flags(monkeypatch):
    """Suites of fewer iterations; the flags have all theirs."""
    for name, value in {
        "PGD_STEPS": 5,
        "APGD_STEPS": 10,
        "SA_PGD_STEPS": (10, 20),
        "RESTARTS": 1,
        "QUERIES": {"small": 60},
    }.items():
        monkeypatch.setattr(suite, name, value)


def test_one_point_is_not_above_the_tolerance_whatever_floats_say():
    shares = [count / 200 for count in range(201)]
    assert not any(red_flags._above(high, low) for low, high in zip(shares, shares[2:], strict=False))
    assert all(red_flags._above(high, low) for low, high in zip(shares, shares[3:], strict=False))


@pytest.mark.slow
def test_an_honest_network_raises_no_flag(trained, quick_flags):
    net, images = trained
    assert accuracy(net, images).mean() > 0.4  # chance is 0.25
    found = evaluate(net, images, epsilon=8 / 255)
    assert up(found) == set() and found.flags
    assert found.established == found.robust.any()  # nothing is established where no image is left
    assert found.robust.mean() < found.clean.mean()


@pytest.mark.slow
def test_a_surrogate_too_narrow_for_the_attacker_is_caught(trained, quick_flags):
    net, images = trained
    narrow = net.view(neuron=replace(net.neuron, surrogate=surrogates.triangle(1.0, 1e-6)))
    found = evaluate(narrow, images, epsilon=8 / 255)
    assert "gradients vanish" in up(found) and not found.established, found.flags


@dataclass(frozen=True)
class Quantise:
    """A layer that rounds its input and passes no gradient."""

    name: str

    def output_shape(self, shape):
        return shape

    def parameters(self, shape, spiking):
        return {}

    def __call__(self, ctx, x):
        k = ctx.tape.backend
        out = Variable(k.asarray(np.round(k.to_numpy(x.value) * 4) / 4))
        ctx.tape.record([out], [x], lambda grad: (k.zeros(tuple(grad.shape)),))
        return out


@pytest.mark.slow
def test_a_quantised_input_is_caught(trained, quick_flags, monkeypatch):
    net, images = trained
    quantised = replace(net.model, layers=(Quantise("quantise"), *net.model.layers))
    cheat = replace(net, model=quantised)
    found = evaluate(cheat, images, epsilon=8 / 255)
    assert {"gradients vanish", "accuracy at unbounded ε"} <= up(found) and not found.established, found.flags


@pytest.mark.slow
def test_random_spikes_are_caught(trained, quick_flags):
    net, images = trained
    found = evaluate(replace(net, coding="rate"), images, epsilon=8 / 255)
    assert "answers are random" in up(found) and not found.established, found.flags


def test_transfer_is_not_needed_where_no_image_is_left(short, numba, network, data):
    net = network(numba)
    wrong = replace(data, labels=(own_answers(net, data).labels + 1) % net.model.classes)
    found = evaluate(net, wrong, flags=False, sources=[("ann", network(numba, "ann"))])
    assert found.stages == [] and found.as_dict()["transfer"] == "not needed"


def test_members_of_the_same_name_are_refused(numba, network, data):
    members = [MEMBERS[1]._replace(name=MEMBERS[0].name), MEMBERS[0]]
    with pytest.raises(MinihireError, match="give your attack or member another name"):
        evaluate(network(numba), data, members=members)


def test_a_probe_attacks_the_first_images(numba, network, data, monkeypatch):
    monkeypatch.setattr(probes, "IMAGES", len(data) - 2)
    net = network(numba)
    found = probes.Probes(net, data, samples=1, seed=3, state=suite_state.State(None, {}, net.backend.services))
    answers = attack_accuracy(net, data.limit(len(data) - 2), fgsm(0.02), seed=3)
    assert found.score("probe", net, fgsm(0.02)) == Score(
        int(answers.sum()), len(data) - 2
    ) and 0 < answers.sum() < len(answers)
