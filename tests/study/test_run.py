"""A run interrupted anywhere and resumed finds what an unbroken run finds."""

import json
import shutil
import signal
import weakref
from dataclasses import replace

import numpy as np
import pytest
from run_files import found, same_as, scores, weights, write_cifar10

from backends import get_backend
from minihire.analysis.accuracy import accuracy
from minihire.attacks import attacked_predictions
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import Interrupted
from minihire.runtime.progress import Progress
from minihire.study import networks, run, stores
from minihire.study import study as study_module
from minihire.study.images import from_png
from minihire.study.pictures import EXAMPLES, choose_examples
from minihire.study.settings import Config
from minihire.training.checkpoint import load, weights_digest

CONFIG = Config(
    data="cifar10",
    heldout=5,
    width=1 / 32,
    hidden=12,
    dropout=0.0,
    steps=4,
    ann_epochs=4,
    ann_batch_size=10,
    ann_learning_rate=0.05,
    ann_schedule="one-cycle",
    snn_epochs=2,
    batch_size=20,
    learning_rate=1e-3,
    calibration_images=40,
    calibration_steps=10,
    iterations=2,
    methods=("hire",),
)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No progress lines."""
    monkeypatch.setattr(Progress, "quiet", True)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The smallest run: one method, everything twice for the black box."""
    return replace(CONFIG, data_dir=str(write_cifar10(tmp_path_factory.mktemp("cifar"), train=9, test=102)))


@pytest.fixture(scope="module")
def splits(config):
    """Its 40 training, 5 held-out and 102 test images (two batches)."""
    return networks.load_data(config)


@pytest.fixture(scope="module")
def go(config, splits):
    """go(out, …) runs or resumes: the content of results.json."""

    def finish(out, resume=False, **changes):
        one = run.Run(replace(config, **changes), get_backend("numba", threads=1), out, splits, resume)
        return one.run().content

    return finish


@pytest.fixture(scope="module")
def unbroken(go, tmp_path_factory):
    """(folder, results) of a run without a stop."""
    out = tmp_path_factory.mktemp("run")
    return out, go(out)


@pytest.fixture(scope="module")
def white(go, tmp_path_factory):
    """The same without the black box: half as long."""
    out = tmp_path_factory.mktemp("white")
    return out, go(out, black_box=False)


@pytest.fixture
def press_ctrl_c(monkeypatch):
    """press_ctrl_c(label, n): SIGINT, once, with the n-th batch of the work of that name (0: before the first)."""

    def arrange(label, number):
        start, add, names, calls, pressed = Progress.__init__, Progress.add, {}, [], []

        def starting(self, name, *rest, **options):
            start(self, name, *rest, **options)
            names[id(self)] = name
            if name == label and number == 0 and not pressed:
                pressed.append(True)
                signal.raise_signal(signal.SIGINT)

        def adding(self, *arguments):
            calls.append(names.get(id(self)))
            if calls[-1] == label and calls.count(label) == number:
                signal.raise_signal(signal.SIGINT)
            add(self, *arguments)

        monkeypatch.setattr(Progress, "__init__", starting)
        monkeypatch.setattr(Progress, "add", adding)

    return arrange


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "number"),
    [
        *(("ann", 1), ("ann", 6), ("conversion", 0), ("conversion", 3)),
        *(("hire", 0), ("hire", 3), ("fgsm", 1), ("pgd", 3), ("activity", 1)),
    ],
)
def test_a_run_stopped_in_the_middle_of_its_work_goes_on(go, white, press_ctrl_c, tmp_path, label, number):
    press_ctrl_c(label, number)
    with pytest.raises(Interrupted):
        go(tmp_path, black_box=False)
    same_as(white, tmp_path, go(tmp_path, resume=True, black_box=False))


@pytest.mark.slow
def test_a_run_stopped_at_its_second_seed_goes_on(go, unbroken, press_ctrl_c, tmp_path):
    press_ctrl_c("second hire", 1)
    with pytest.raises(Interrupted, match="stopped second hire"):
        go(tmp_path)
    same_as(unbroken, tmp_path, go(tmp_path, resume=True))


@pytest.mark.slow
@pytest.mark.parametrize(("label", "number"), [("ann", 16), ("conversion", 10), ("hire", 4), ("fgsm", 2), ("pgd", 2)])
def test_a_stop_with_the_last_batch_of_some_work_is_not_forgotten(go, white, press_ctrl_c, tmp_path, label, number):
    press_ctrl_c(label, number)
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        go(tmp_path, black_box=False)
    same_as(white, tmp_path, go(tmp_path, resume=True, black_box=False))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "function"),
    [(networks, "measure_activity"), (run, "spike_distance"), (study_module, "predictions"), (study_module, "train")],
)
def test_a_run_interrupted_between_its_parts_resumes(go, white, tmp_path, monkeypatch, module, function):
    calls, original = [], getattr(module, function)

    def broken(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, function, broken)
        go(tmp_path, black_box=False)
    same_as(white, tmp_path, go(tmp_path, resume=True, black_box=False))


@pytest.mark.slow
def test_a_run_killed_between_checkpoint_and_results_goes_on(go, white, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(stores, "_scalars", lambda *_: (_ for _ in ()).throw(SystemExit))  # what follows the checkpoint
        go(tmp_path, black_box=False)
    same_as(white, tmp_path, go(tmp_path, resume=True, black_box=False))


def test_the_analysis_stops_after_a_batch(go, press_ctrl_c, tmp_path, monkeypatch):
    few = dict(methods=("traditional",), black_box=False, ann_epochs=1, snn_epochs=1)
    press_ctrl_c("activity", 1)
    with monkeypatch.context() as patched, pytest.raises(Interrupted, match="^stopped during the measurement of act"):
        patched.setattr(run, "perturb", None)
        go(tmp_path, **few)
    assert sorted(go(tmp_path, resume=True, **few)["activity"]) == ["ann", "converted", "traditional"]


def test_a_finished_run_trains_and_attacks_nothing_again(go, unbroken, monkeypatch):
    for module, name in (
        (study_module, "train"),
        (study_module, "converted_snn"),
        (study_module, "attacked_predictions"),
        (study_module, "predictions"),
    ):
        monkeypatch.setattr(module, name, None)
    assert found(go(unbroken[0], resume=True)) == found(unbroken[1])


def test_at_most_two_networks_are_in_memory_and_one_while_it_is_trained(go, tmp_path, monkeypatch):
    made, most, while_working = [], [0], {}
    living = lambda: sum(reference() is not None for reference in made)
    start, add = Network.__post_init__, Progress.add

    def starting(network):
        made.append(weakref.ref(network))
        most[0] = max(most[0], living())
        start(network)

    def adding(progress, *arguments):
        while_working[progress.label] = max(while_working.get(progress.label, 0), living())
        add(progress, *arguments)

    monkeypatch.setattr(Network, "__post_init__", starting)
    monkeypatch.setattr(Progress, "add", adding)
    go(tmp_path, methods=("control", "hire"), ann_epochs=1, snn_epochs=1)
    assert len(made) > 10 and most[0] == 2
    trainings = ("ann", "control", "hire", "second ann", "second control", "second hire")
    assert {name: while_working[name] for name in trainings} == dict.fromkeys(trainings, 1)
    assert while_working["pgd"] == 2  # a network and the one that images are crafted on


@pytest.mark.slow
def test_the_black_box_is_the_same_run_with_the_next_seed(go, unbroken, tmp_path):
    go(tmp_path / "run", seed=1, black_box=False)
    for name in ("ann", "converted", "hire"):
        assert weights(tmp_path / "run" / "models" / f"{name}.npz") == weights(
            unbroken[0] / "models" / "second" / f"{name}.npz"
        )


@pytest.mark.slow
def test_without_a_black_box_the_white_box_is_the_same(white, unbroken):
    assert scores(white[1]) == {key: value for key, value in scores(unbroken[1]).items() if key[1] != "black_box"}
    assert not (white[0] / "models" / "second").exists()


@pytest.mark.slow
def test_every_accuracy_names_its_source_images_and_interval(unbroken):
    for row in unbroken[1]["accuracy"]:
        assert row["count"] == 102 and row["low"] <= row["accuracy"] == row["correct"] / 102 <= row["high"]
        matrix = np.array(row["confusion"])
        assert matrix.trace() == row["correct"] and matrix.sum() == 102 and (matrix >= 0).all()
        assert (
            row["source"]
            == {"clean": None, "white_box": row["model"], "black_box": f"second {row['model']}"}[row["access"]]
        )


@pytest.mark.slow
def test_recorded_accuracy_is_that_of_the_checkpoint(unbroken, splits):
    net = load(unbroken[0] / "models" / "hire.npz").network(get_backend("numba", threads=1))
    assert int(np.sum(accuracy(net, splits.test))) == scores(unbroken[1])["hire", "clean", "none"]


@pytest.mark.slow
def test_recorded_thresholds_and_leaks_are_those_of_the_checkpoint(unbroken):
    arrays, model = load(unbroken[0] / "models" / "hire.npz").arrays, unbroken[1]["models"]["hire"]
    for kind in ("threshold", "leak"):
        assert model[f"{kind}s"] == {
            name.split("/")[1].split(".")[0]: float(a[0])
            for name, a in arrays.items()
            if name.startswith("parameter/") and name.endswith(kind)
        }


@pytest.mark.slow
def test_examples_are_pictures_of_test_images_within_epsilon(unbroken, splits):
    examples = [e for e in unbroken[1]["examples"] if e["model"] == "hire"]
    assert len(examples) == EXAMPLES
    for i, example in zip(choose_examples(splits.test), examples, strict=True):
        clean, attacked = (from_png(example[key]).astype(int) for key in ("clean_png", "attacked_png"))
        assert np.array_equal(clean, splits.test.images[i]) and example["label"] == splits.test.labels[i]
        assert 0 < abs(attacked - clean).max() <= 8


@pytest.mark.slow
def test_results_keep_spike_trains_and_noise(unbroken):
    results = unbroken[1]
    assert list(results["spike_trains"]) == ["converted", "hire"]
    for layers in results["spike_trains"].values():
        assert [row["name"] for row in layers] == [f"neuron{i}" for i in (1, 2, 3, 4, 5)]
    assert [name for name, model in results["models"].items() if "noise" in model] == ["hire"]
    assert results["models"]["hire"]["noise"]["scale"] == CONFIG.noise_step
    assert len((unbroken[0] / "results.json").read_bytes()) < 500_000


@pytest.mark.slow
def test_a_finished_run_may_be_given_the_black_box_and_more_methods(go, white, unbroken, tmp_path, monkeypatch):
    out = shutil.copytree(white[0], tmp_path / "grown")
    grown = go(out, resume=True)
    in_order = lambda results: sorted(results["accuracy"], key=str)
    assert in_order(grown) == in_order(unbroken[1]) and grown["config"] == unbroken[1]["config"] and grown["finished"]
    trained, train = [], study_module.train
    monkeypatch.setattr(study_module, "train", lambda *a, **o: trained.append(o["label"]) or train(*a, **o))
    more = go(out, resume=True, methods=("hire", "control"))
    assert trained == ["control", "second control"] and more["config"]["methods"] == ["hire", "control"]
    rows = in_order(more)
    assert all(row in rows for row in in_order(grown))
    assert {(r["access"], r["attack"]) for r in rows if r["model"] == "control"} == {
        (r["access"], r["attack"]) for r in rows if r["model"] == "hire"
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("epsilon", 16 / 255, "--epsilon 8/255, not with --epsilon 16/255"),
        ("steps", 5, "--steps 4, not with --steps 5"),
        ("seed", 1, "--seed 0, not with --seed 1"),
        ("methods", ("control",), "--methods hire, not with --methods control"),
        ("augment", False, "--augment, not with --no-augment"),
        ("black_box", False, "--black-box, not with --no-black-box"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(go, unbroken, name, value, shown):
    before = (unbroken[0] / "results.json").read_bytes()
    with pytest.raises(
        MinihireError,
        match=f"this run was started with {shown}: resume with the same settings, or choose another --out",
    ):
        go(unbroken[0], resume=True, **{name: value})
    assert (unbroken[0] / "results.json").read_bytes() == before


@pytest.mark.slow
def test_a_run_trains_an_snn_and_an_ann_adversarially_and_resumes(go, press_ctrl_c, tmp_path):
    changes = dict(methods=("adversarial", "adversarial-ann"), adversarial_iterations=2, black_box=False)
    results = go(tmp_path / "unbroken", **changes)
    assert list(results["models"]) == ["ann", "converted", "adversarial", "adversarial-ann"]
    assert results["models"]["adversarial"]["cost"] == {"passes": 3, "time_steps": 12, "epochs": 2}
    assert results["models"]["adversarial-ann"]["cost"] == {"passes": 3, "time_steps": 3, "epochs": 4}
    assert results["models"]["adversarial"]["noise"]["scale"] == CONFIG.adversarial_epsilon
    assert "cost" not in results["models"]["converted"] and not results["models"]["adversarial-ann"]["thresholds"]
    assert {row["model"] for row in results["accuracy"]} == {*results["models"]}
    assert list(results["spike_trains"]) == ["converted", "adversarial"]
    for label in ("adversarial", "adversarial-ann"):
        press_ctrl_c(label, 1)
        with pytest.raises(Interrupted):
            go(tmp_path / "stopped", resume=True, **changes)
    again = go(tmp_path / "stopped", resume=True, **changes)
    same_as((tmp_path / "unbroken", results), tmp_path / "stopped", again)


@pytest.mark.slow
def test_phases_cover_the_run(unbroken):
    assert list(unbroken[1]["phases"]) == [
        "train ann",
        "convert ann",
        "train hire",
        "train second ann",
        "convert second ann",
        "train second hire",
        "clean test images",
        "attack fgsm",
        "attack pgd",
        "analysis",
    ]


@pytest.mark.slow
def test_a_network_that_was_exchanged_is_refused(go, unbroken, tmp_path):
    shutil.copytree(unbroken[0], tmp_path / "run")
    results = tmp_path / "run" / "results.json"
    content = json.loads(results.read_text())
    del content["checksum"]  # the file is edited
    content["finished"] = False
    results.write_text(json.dumps(content))
    models = tmp_path / "run" / "models"
    shutil.copy(models / "second" / "hire.npz", models / "hire.npz")
    with pytest.raises(
        MinihireError, match=r"hire\.npz is not the network that was trained here: put its own file back"
    ):
        go(tmp_path / "run", resume=True)
    del content["models"]["hire"]["weights"]  # a folder of an older version
    results.write_text(json.dumps(content))
    assert go(tmp_path / "run", resume=True)["finished"]
    shutil.copy(unbroken[0] / "models" / "hire.npz", models / "hire.npz")
    (models / "ann.npz").write_bytes(b"damaged")
    results.write_text(json.dumps({**content, "finished": False}))
    with pytest.raises(MinihireError, match=r"ann\.npz .*delete it, and it is trained again"):
        go(tmp_path / "run", resume=True)


@pytest.fixture
def retrained(go, tmp_path, monkeypatch):
    """retrained(change) resumes an extended run without its ann.npz, on another machine: (folder, earlier results, resume)."""
    few = dict(methods=("traditional",), black_box=False, ann_epochs=1, snn_epochs=1)
    more = few | dict(methods=("traditional", "control"))

    def arrange(change=lambda content: None, other_machine=True):
        before = go(tmp_path, **few)
        content = json.loads((tmp_path / "results.json").read_text())
        del content["checksum"]
        change(content)
        (tmp_path / "results.json").write_text(json.dumps(content))
        (tmp_path / "models" / "ann.npz").unlink()
        new_ann, seed = networks.new_ann, 7 if other_machine else 0
        monkeypatch.setattr(study_module, "new_ann", lambda *a: new_ann(*a[:-1], seed))
        return tmp_path, before, lambda: go(tmp_path, resume=True, **more)

    return arrange


def rows_of(results, *names):
    return [row for row in results["accuracy"] if row["model"] in names]


def in_an_older_version(content):
    for model in content["models"].values():
        model.pop("start", None)


def in_the_oldest_version(content):
    in_an_older_version(content)
    for model in content["models"].values():
        del model["weights"]


@pytest.mark.parametrize("change", [lambda content: None, in_an_older_version, in_the_oldest_version], ids=range(3))
def test_a_network_that_was_trained_again_is_measured_again_with_all_that_start_from_it(retrained, splits, change):
    out, before, resume = retrained(change)
    for _ in range(2):
        with pytest.raises(
            MinihireError,
            match=r"traditional\.npz was trained with other images or starting weights: .*, delete it to train again",
        ):
            resume()
    (out / "models" / "traditional.npz").unlink()
    after = resume()
    assert after["finished"]
    for name in ("ann", "converted", "traditional"):
        assert after["models"][name]["weights"] == weights_digest(load(out / "models" / f"{name}.npz").arrays)
        assert after["models"][name]["weights"] != before["models"][name]["weights"]
        assert after["energy"][name] != before["energy"][name] or name == "ann"
        assert len(rows_of(after, name)) == 3
        net = load(out / "models" / f"{name}.npz").network(get_backend("numba", threads=1))
        assert scores(after)[name, "clean", "none"] == int(accuracy(net, splits.test).sum())
    for name, start in (("converted", "ann"), ("traditional", "converted"), ("control", "converted")):
        assert after["models"][name]["start"] == after["models"][start]["weights"]
    assert "start" not in after["models"]["ann"] and len(after["examples"]) == 4 * EXAMPLES
    warned = [warning.split(":")[0] for warning in after["warnings"]]
    assert len(warned) == len(set(warned))


def test_a_network_that_was_trained_again_to_the_same_weights_keeps_its_results(retrained, monkeypatch):
    out, before, resume = retrained(in_an_older_version, other_machine=False)
    trained, train = [], study_module.train
    monkeypatch.setattr(study_module, "train", lambda *a, **o: trained.append(o["label"]) or train(*a, **o))
    after = resume()
    assert trained == ["ann", "control"]
    assert rows_of(after, *before["models"]) == before["accuracy"]
    assert {name: model["weights"] for name, model in after["models"].items() if name != "control"} == {
        name: model["weights"] for name, model in before["models"].items()
    }


@pytest.mark.parametrize("change", [lambda content: None, in_the_oldest_version], ids=range(2))
def test_an_interrupted_retraining_resumes(go, retrained, press_ctrl_c, config, change):
    out, _, resume = retrained(change)
    press_ctrl_c("ann", 2)
    with pytest.raises(Interrupted, match="stopped ann"):
        resume()
    assert (out / "models" / "ann.npz").exists()
    more = dict(methods=("traditional", "control"), black_box=False, ann_epochs=1, snn_epochs=1)
    made = run.finished_networks(out, replace(config, **more), None)
    assert made == {("converted", 0), ("traditional", 0)}
    with pytest.raises(MinihireError, match="delete it to train again"):
        resume()
    assert run.finished_networks(out, replace(config, **more), None) == {("ann", 0), ("converted", 0)}
    (out / "models" / "traditional.npz").unlink()
    press_ctrl_c("traditional", 1)
    with pytest.raises(Interrupted, match="stopped traditional"):
        resume()
    found, expected = resume(), go(out / "unbroken", **more)
    assert scores(found) == scores(expected) and len(found["accuracy"]) == len(expected["accuracy"])
    for name, model in expected["models"].items():
        assert found["models"][name] == model
        assert weights(out / "models" / f"{name}.npz") == weights(out / "unbroken" / "models" / f"{name}.npz")


def test_answers_that_an_interrupted_attack_on_an_earlier_network_left_are_replaced(retrained, splits):
    def not_attacked(content):
        content["accuracy"] = [row for row in content["accuracy"] if row["access"] == "clean"]

    out, _, resume = retrained(not_attacked)
    left, earlier = out / "fgsm-ann-white_box.npz", load(out / "models" / "traditional.npz")
    earlier = earlier.network(get_backend("numba", threads=1))
    attacked_predictions([earlier], earlier, splits.test, CONFIG.attacks[0], path=left, keep=True)
    (out / "models" / "traditional.npz").unlink()
    assert resume()["finished"] and not left.exists()


def test_trained_networks_resume_after_an_older_ann_was_trained_again_to_the_same_weights(retrained, monkeypatch):
    out, before, resume = retrained(in_the_oldest_version, other_machine=False)
    kept = weights(out / "models" / "traditional.npz")
    after = resume()
    assert after["finished"] and weights(out / "models" / "traditional.npz") == kept
    assert {key: value for key, value in scores(after).items() if key[0] != "control"} == scores(before)


def test_answers_of_an_attack_are_kept_until_its_row_is_written(go, tmp_path, monkeypatch):
    few = dict(methods=("traditional",), black_box=False, ann_epochs=1, snn_epochs=1)
    matrix, calls = run.confusion_matrix, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 4:  # after three clean accuracies, that of the first attack
            raise SystemExit
        return matrix(*arguments)

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(run, "confusion_matrix", killed)
        go(tmp_path, **few)
    assert [path.name for path in tmp_path.glob("*.npz")] == ["fgsm-ann-white_box.npz"]
    attacked, add = [], Progress.add
    monkeypatch.setattr(Progress, "add", lambda self, *a: attacked.append(self.label) or add(self, *a))
    assert len(go(tmp_path, resume=True, **few)["accuracy"]) == 9
    assert attacked.count("fgsm") == 2 * 2  # two batches of each network but the ANN
    assert not list(tmp_path.glob("*.npz"))
