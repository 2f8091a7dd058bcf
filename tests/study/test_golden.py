"""Files written by version 0.1.0 still load, resume, and give the same results."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_files import scores

from backends import get_backend
from minihire.attacks import fgsm, pgd
from minihire.data.batches import Batches
from minihire.report import page
from minihire.runtime.progress import Progress
from minihire.study import study as study_module
from minihire.study.cache_folder import CacheFolder
from minihire.study.networks import load_data
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.paper.scales import SCALES, Scale
from minihire.study.run import Run
from minihire.study.settings import Config, preset
from minihire.study.spec import NetworkSpec
from minihire.study.study import describe_attack
from minihire.training.checkpoint import load

GOLDEN = Path(__file__).parents[1] / "golden"
DIGESTS = json.loads((GOLDEN / "digests.json").read_text(encoding="utf-8"))
TINY = preset(
    "mini",
    train_limit=100,
    test_limit=30,
    heldout=0,
    width=0.02,
    hidden=16,
    ann_epochs=1,
    snn_epochs=1,
    ann_learning_rate=0.02,
    calibration_images=16,
    calibration_steps=10,
)
CHANGES = ({"freeze": True}, {"carry_noise": False}, {"steps": 4}, {"noise_step": 0.02})


@pytest.fixture(scope="module")
def k():
    return get_backend("numba", threads=1)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No progress lines."""
    monkeypatch.setattr(Progress, "quiet", True)


def results_of(name):
    return json.loads((GOLDEN / name / "results.json").read_text(encoding="utf-8"))


def config_of(results):
    return Config(**{**results["config"], "methods": tuple(results["config"]["methods"])})


def forbid_training(monkeypatch):
    for module, name in (
        (study_module, "train"),
        (study_module, "converted_snn"),
        (study_module, "attacked_predictions"),
    ):
        monkeypatch.setattr(module, name, None)


@pytest.mark.parametrize("name", ["ann", "converted", "hire"])
def test_checkpoints_give_the_same_logits(k, name):
    test = load_data(config_of(results_of("run"))).test
    images, _ = Batches(test, k, 10).load(0, 0)
    logits = load(GOLDEN / "run" / "models" / f"{name}.npz").network(k).forward(images)
    expected = np.load(GOLDEN / "logits.npz")[name]
    np.testing.assert_allclose(k.to_numpy(logits), expected, rtol=1e-4, atol=1e-5)


def test_a_finished_run_is_complete_and_makes_its_page(k, tmp_path, monkeypatch):
    out = shutil.copytree(GOLDEN / "run", tmp_path / "run")
    config = config_of(results_of("run"))
    forbid_training(monkeypatch)
    assert Run(config, k, out, load_data(config), resume=True).run().content == results_of("run")
    page.write(out / "report.html", [page.read(out)])
    assert "HIRE-SNN" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_results_of_the_finished_one(k, tmp_path, monkeypatch):
    out = shutil.copytree(GOLDEN / "stopped", tmp_path / "run")
    for name in ("ann", "converted"):
        shutil.copy(GOLDEN / "run" / "models" / f"{name}.npz", out / "models")
    config, batches, load_batch = config_of(results_of("stopped")), [], Batches.load

    def loading(self, epoch, batch, *rest):
        if self.size == config.batch_size:
            batches.append(batch)
        return load_batch(self, epoch, batch, *rest)

    monkeypatch.setattr(Batches, "load", loading)
    results = Run(config, k, out, load_data(config), resume=True).run()
    assert batches[0] == 20, "training resumes after its 20th batch"
    assert results["finished"] and scores(results.content).keys() == scores(results_of("run")).keys()
    ours, theirs = (load(folder / "models" / "hire.npz").arrays for folder in (out, GOLDEN / "run"))
    for name, array in theirs.items():
        if name.startswith("parameter/"):
            np.testing.assert_allclose(ours[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(
        [row["loss"] for row in results["models"]["hire"]["history"]],
        [row["loss"] for row in results_of("run")["models"]["hire"]["history"]],
        rtol=1e-4,
    )


def test_a_paper_cache_is_found_again(k, tmp_path, monkeypatch):
    shutil.copytree(GOLDEN / "paper" / "cache", tmp_path / "cache")
    forbid_training(monkeypatch)
    study, ann = PaperStudy(Scale("tiny", (TINY,), rate={}), k, tmp_path), NetworkSpec(TINY, "ann", 0)
    assert study.store.has(ann)
    assert study.answers(ann).astype(int).tolist() == DIGESTS["answers"]["clean"]
    assert study.answers(ann, fgsm()).astype(int).tolist() == DIGESTS["answers"]["fgsm"]
    assert not study.network(ann).spiking


def test_file_names_in_paper_caches_are_the_same(k):
    cache, found = CacheFolder(Path("nowhere"), k), set()
    for scale in SCALES.values():
        for config in scale.settings:
            for method in ("ann", "converted", "traditional", "control", "gaussian", "hire"):
                for changes in ({}, scale.rate, *CHANGES):
                    found.add(cache.checkpoint(NetworkSpec(replace(config, **changes), method, 1)).name)
    assert DIGESTS["networks"].keys() <= found  # scales that are newer than the file add names
    hire = NetworkSpec(TINY, "hire", 0).describe()
    for name, attack in (("clean", None), ("fgsm", fgsm()), ("pgd", pgd())):
        key = {"answers": hire, "images": 30, "steps": 4}
        if attack:
            key |= {"attack": describe_attack(attack), "source": hire}
        assert cache.measurement(key).name == DIGESTS["measured"][name], name
