"""One study: networks and answers are made once; a store only decides where they lie."""

from dataclasses import replace
from pathlib import PureWindowsPath

import numpy as np
import pytest

from backends import get_backend
from minihire.attacks import fgsm
from minihire.data import DataError
from minihire.runtime.errors import MinihireError
from minihire.runtime.progress import Progress
from minihire.study import networks
from minihire.study.networks import LIMITS, load_data
from minihire.study.results import Results
from minihire.study.run import Run
from minihire.study.settings import preset
from minihire.study.single import attack_one, convert_one, train_one
from minihire.study.spec import NetworkSpec
from minihire.study.stores import RunFolder
from minihire.training.checkpoint import load

CONFIG = preset(
    "mini",
    **dict(train_limit=40, test_limit=30, heldout=5, width=0.05, hidden=16, steps=2, ann_epochs=2, ann_batch_size=8),
    **dict(snn_epochs=1, batch_size=8, calibration_images=8, calibration_steps=4, iterations=2),
    **dict(methods=("hire",), black_box=False),
)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No progress lines."""
    monkeypatch.setattr(Progress, "quiet", True)


@pytest.fixture(scope="module")
def k():
    return get_backend("numba", threads=1)


@pytest.fixture(scope="module")
def splits():
    return load_data(CONFIG)


@pytest.fixture(scope="module")
def finished(k, splits, tmp_path_factory):
    """A finished run: (folder, results)."""
    out = tmp_path_factory.mktemp("run")
    quiet, Progress.quiet = Progress.quiet, True
    results = Run(CONFIG, k, out, splits).run()
    Progress.quiet = quiet
    return out, results


def arrays(path):
    return {name: array.tobytes() for name, array in load(path).arrays.items() if name.startswith("parameter/")}


def test_results_made_on_windows_name_files_as_others_do(k, splits, tmp_path):
    results = Results.new(tmp_path / "results.json", CONFIG.describe(), k)
    ann = networks.new_ann(CONFIG, splits.train, k, CONFIG.seed)
    RunFolder(PureWindowsPath("x"), CONFIG, k, results).note_made(NetworkSpec(CONFIG, "ann", CONFIG.seed), ann, None)
    assert results["models"]["ann"]["checkpoint"] == "models/ann.npz"


def test_single_commands_make_the_networks_of_a_run(k, splits, finished, tmp_path):
    ann, _ = train_one(CONFIG, "ann", splits, k, tmp_path / "ann.npz")
    snn = convert_one(CONFIG, ann, splits, k, tmp_path / "converted.npz")
    hire, training = train_one(CONFIG, "hire", splits, k, tmp_path / "hire.npz", snn)
    for name in ("ann", "converted", "hire"):
        assert arrays(tmp_path / f"{name}.npz") == arrays(finished[0] / "models" / f"{name}.npz"), name
    assert training.history == finished[1]["models"]["hire"]["history"]
    answers, _ = attack_one(CONFIG, CONFIG.attacks, hire, None, splits, k)
    recorded = {r["attack"]: r["correct"] for r in finished[1]["accuracy"] if r["model"] == "hire"}
    assert {"none" if n == "clean" else n: int(right.sum()) for n, right in answers.items()} == recorded


def test_measurements_show_their_progress(k, splits, finished, tmp_path, progress_shown):
    hire = load(finished[0] / "models" / "hire.npz").network(k)
    attack_one(CONFIG, [], hire, None, splits, k)
    networks.activity_and_energy(hire, splits.test, 0)
    networks.neurobench_metrics(hire, splits.test, 0)
    assert progress_shown == dict.fromkeys(("clean images", "activity", "NeuroBench"), (30, 30))


def test_training_leaves_the_network_that_it_starts_from_as_it_is(k, splits, finished, tmp_path):
    start = load(finished[0] / "models" / "converted.npz").network(k)
    before = {name: k.to_numpy(array).copy() for name, array in start.parameters.items()}
    train_one(CONFIG, "hire", splits, k, tmp_path / "hire.npz", start)
    for name, array in before.items():
        assert np.array_equal(k.to_numpy(start.parameters[name]), array), name


def test_answers_of_an_attack_are_kept_until_they_are_cleared(k, splits, finished, tmp_path):
    target, source = (load(finished[0] / "models" / f"{name}.npz").network(k) for name in ("hire", "converted"))
    answers, files = attack_one(CONFIG, [fgsm()], target, source, splits, k, tmp_path / "scores.json")
    kept = np.load(tmp_path / "scores.fgsm.npz")
    assert np.array_equal(kept["predicted"][0] == splits.test.labels, answers["fgsm"]) and kept["done"] == len(
        splits.test
    )
    again, _ = attack_one(CONFIG, [fgsm()], target, source, splits, k, tmp_path / "scores.json")
    assert np.array_equal(again["fgsm"], answers["fgsm"])
    with pytest.raises(MinihireError, match="is of another attack or other images"):
        attack_one(CONFIG, [fgsm(0.5)], target, source, splits, k, tmp_path / "scores.json")
    files.clear()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["ann", "converted", "hire"])
def test_checkpoints_record_data_set_and_class_names(splits, finished, name):
    meta = load(finished[0] / "models" / f"{name}.npz").meta
    assert meta["data"] == {"name": "shapes", "classes": list(splits.train.classes)}


def test_a_network_is_made_from_the_network_before_it():
    hire = NetworkSpec(CONFIG, "hire", 3)
    assert hire.start == NetworkSpec(CONFIG, "converted", 3)
    assert hire.start.start == NetworkSpec(CONFIG, "ann", 3) and hire.start.start.start is None


def test_a_failed_training_is_in_the_results(k, splits, tmp_path):
    splits = replace(splits, train=replace(splits.train, labels=np.zeros_like(splits.train.labels)))
    results = Run(replace(CONFIG, ann_epochs=1), k, tmp_path, splits).run()
    assert any(w.startswith("ann: its accuracy cannot be told from chance") for w in results["warnings"])


# ---------------------------------------------------------------- limits of presets


@pytest.fixture
def few_images(tmp_path):
    """A folder of 65 training and 12 test images in two classes."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for part, count in (("train", 65), ("test", 12)):
        for i in range(count):
            path = tmp_path / part / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    return str(tmp_path)


def test_limits_of_a_preset_adapt_to_a_smaller_data_set(few_images, monkeypatch):
    said = []
    monkeypatch.setattr(networks, "say", said.append)
    config = preset("cifar10-small", data="folder", data_dir=few_images)
    splits = load_data(config, given=("data", "data_dir"))
    assert (len(splits.train), len(splits.heldout), len(splits.test)) == (65, 0, 12)
    assert said == [
        "using all 65 training images: the preset's 10,000 are more than folder has",
        "using no held-out images: the preset's 1,000 are more than folder has",
        "using all 12 test images: the preset's 1,000 are more than folder has",
    ]


def test_limits_of_a_preset_that_fit_stay(few_images, monkeypatch):
    monkeypatch.setattr(networks, "say", None)
    config = preset("cifar10-small", data="folder", data_dir=few_images, train_limit=30, heldout=9, test_limit=5)
    splits = load_data(config, given=())
    assert (len(splits.train), len(splits.heldout), len(splits.test)) == (30, 9, 5)


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_that_the_user_gave_must_fit(few_images, name):
    config = preset("mini", data="folder", data_dir=few_images, **{name: 1000})
    with pytest.raises(DataError, match="1000 .* were requested"):
        load_data(config, given=(name,))
