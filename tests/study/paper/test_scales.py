"""Scales with several networks and data sets: what is used without and with --models, and which rows an experiment has."""

import os
from dataclasses import replace

import pytest
from run_files import write_cifar10
from tiny_scale import TINY

from minihire.app import cli
from minihire.app import paper as command
from minihire.data import load
from minihire.study import notes
from minihire.study.paper.dry_run import DryRun, Needs, Plan
from minihire.study.paper.outcome import Outcome
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.paper.scales import SCALES, scale
from minihire.study.settings import preset
from minihire.study.spec import NetworkSpec

SECOND = replace(TINY.settings[0], model="vgg11", width=1 / 32, hidden=8)
BOTH = replace(TINY, settings=(*TINY.settings, SECOND), on_request=("vgg11",))


def write_cifar100(folder):
    """Empty files with the names of CIFAR-100's."""
    folder.mkdir()
    for name in ("train.bin", "test.bin"):
        (folder / name).touch()


@pytest.fixture
def cifar10(tmp_path):
    """A folder with CIFAR-10 only."""
    write_cifar10(tmp_path / "data" / "cifar-10-batches-bin")
    return tmp_path / "data"


def models(at):
    return [(c.model, c.data) for c in at.settings]


def test_keys_of_networks_of_earlier_versions_are_the_same():
    for name, expected in (("small", "763850c4a7b6d8cc"), ("medium", "52f08f65ccb346d9")):
        config = SCALES[name].settings[0]
        methods = ("ann", "converted", "traditional", "hire", "hire-4x")
        assert notes.digest([NetworkSpec(config, m, 1).describe() for m in methods]) == expected


def test_scale_small_has_cifar100_only_with_models(cifar10):
    write_cifar100(cifar10 / "cifar-100-binary")
    assert models(scale("small", str(cifar10))) == [("vgg5", "cifar10")]
    hundred = [("vgg11", "cifar100"), ("resnet12", "cifar100")]
    assert models(scale("small", str(cifar10), ("vgg11", "resnet12"))) == hundred
    whole = scale("small", str(cifar10), ("all",))
    assert models(whole) == [("vgg5", "cifar10"), *hundred] and not whole.left_out
    assert all(c.data_dir == str(cifar10) for c in whole.settings)


@pytest.mark.parametrize("model", ["vgg11", "resnet12"])
def test_cifar100_at_scale_small_has_all_images_and_the_paper_s_steps_and_noise(model):
    config, paper = SCALES["small"].config(model), preset(f"{model}-cifar100")
    for name in ("data", "steps", "noise_step", "noise_bound", "train_limit", "heldout", "periods", "batch_size"):
        assert getattr(config, name) == getattr(paper, name), name
    assert (config.width, config.ann_epochs, config.ann_batch_size, config.snn_epochs) == (0.25, 40, 64, 5)


@pytest.mark.parametrize(
    ("name", "chosen", "left"),
    [
        ("small", ("all",), [("vgg5", "cifar10")]),
        ("full", (), [("vgg5", "cifar10"), ("resnet12", "cifar10")]),
        ("full", ("resnet12",), [("resnet12", "cifar10")]),
    ],
)
def test_a_data_set_that_is_absent_is_left_out_and_named(cifar10, name, chosen, left):
    found = scale(name, str(cifar10), chosen)
    assert models(found) == left
    (sentence,) = found.left_out
    assert sentence.startswith(f"CIFAR-100 rows left out: {cifar10} has no files of CIFAR-100.")
    assert len(scale(name, str(cifar10), chosen, download=True).settings) > len(left)
    write_cifar100(cifar10 / "cifar-100-binary")
    assert len(scale(name, str(cifar10), chosen).settings) > len(left)


def test_the_folder_of_one_data_set_may_be_given(cifar10):
    assert models(scale("small", str(cifar10 / "cifar-10-batches-bin"), ("vgg5", "vgg11"))) == [("vgg5", "cifar10")]


def test_without_any_data_set_the_folder_is_named(tmp_path, capsys):
    flags = f"--scale small --models vgg11 --data-dir {tmp_path} --out {tmp_path / 'out'}"
    assert cli.main(["paper", "table1", *flags.split()]) == 2
    assert f"no CIFAR-100 in {tmp_path}: expected train.bin" in capsys.readouterr().err


def test_tables_of_several_networks_say_what_is_left_out(backend, tmp_path, monkeypatch):
    for name in ("table1", "table6"):
        empty = command.EXPERIMENTS[name]._replace(make=lambda study, name=name: Outcome(name, name))
        monkeypatch.setitem(command.EXPERIMENTS, name, empty)
    at = replace(TINY, left_out=("CIFAR-100 rows left out: none.",))
    content = command.reproduce(PaperStudy(at, backend, tmp_path), ["table1", "table6"], tmp_path)
    assert [o["notes"] for o in content["outcomes"]] == [["CIFAR-100 rows left out: none."], []]
    assert "CIFAR-100 rows left out: none." in (tmp_path / "paper.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "fig1c", "fig4", "fig9"])
def test_rows_of_the_second_network_follow_those_of_the_usual_one(backend, tmp_path, name):
    one, two = (
        command.EXPERIMENTS[name].make(DryRun(PaperStudy(at, backend, tmp_path), Needs())) for at in (TINY, BOTH)
    )
    assert len(two.tables) == 2 * len(one.tables) and two.tables[: len(one.tables)] == one.tables
    captions = [table["caption"] for table in two.tables[len(one.tables) :] if " on " in table["caption"]]
    assert captions and all(caption.startswith("VGG11 on shapes") for caption in captions)
    assert len(two.charts) == 2 * len(one.charts)
    claims = [claim["claim"] for claim in two.claims]
    assert len(set(claims)) == len(claims) >= len(one.claims)
    titles = [chart["title"] for chart in two.charts]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", ["fig1b", "fig3", "fig11"])
def test_activity_and_energy_are_measured_on_both_networks(backend, tmp_path, name):
    needs = Plan(PaperStudy(BOTH, backend, tmp_path)).needs(command.EXPERIMENTS[name].make)
    assert {spec.config.model for spec in needs.networks.values()} == {"vgg5", "vgg11"}


def test_without_the_usual_network_a_figure_has_the_paper_s_network_only(backend, tmp_path):
    at = replace(BOTH, settings=(SECOND,))
    found = command.EXPERIMENTS["fig4"].make(DryRun(PaperStudy(at, backend, tmp_path), Needs()))
    assert [table["caption"] for table in found.tables] == ["VGG11 on shapes: accuracy in %"]
    assert not any(claim["claim"].startswith("VGG") for claim in found.claims)


@pytest.mark.slow
def test_a_network_of_the_real_cifar100_is_trained_and_attacked(tmp_path):
    folder = os.environ.get("MINIHIRE_CIFAR100")
    if not folder:
        pytest.skip("MINIHIRE_CIFAR100 is not set to the folder of the real CIFAR-100")
    flags = "--width 1/16 --hidden 32 --train-limit 200 --test-limit 20 --ann-epochs 1 --snn-epochs 1 --methods hire"
    flags += " --calibration-images 20 --calibration-steps 4 --iterations 1 --quiet"
    out = tmp_path / "run"
    arguments = ["run", "--preset", "vgg11-cifar100-2core", "--data-dir", folder, "--out", str(out), *flags.split()]
    assert cli.main(arguments) == 0
    results = notes.read(out / "results.json", "", "data", "accuracy", "finished")
    assert results["finished"] and results["data"]["classes"] == list(load("cifar100", folder).test.classes)
    assert len(results["accuracy"]) == 9  # three networks; clean, FGSM and PGD
