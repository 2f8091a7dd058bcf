"""The estimate of a run before it starts: its parts, and what it leaves out."""

from dataclasses import replace

import pytest
from run_files import command, write_cifar10

from backends import get_backend
from minihire.runtime.interrupt import Interrupted
from minihire.study import networks
from minihire.study.estimate import estimate
from minihire.study.settings import Config

CONFIG = Config(
    data="cifar10",
    width=1 / 32,
    hidden=12,
    steps=4,
    ann_epochs=4,
    ann_batch_size=10,
    snn_epochs=2,
    batch_size=20,
    calibration_images=40,
    calibration_steps=10,
    iterations=2,
    methods=("hire",),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(config, backend, images) of a run of seconds."""
    config = replace(CONFIG, data_dir=str(write_cifar10(tmp_path_factory.mktemp("cifar"), train=9, test=102)))
    return config, get_backend("numba", threads=1), networks.load_data(config)


def test_every_part_of_the_run_has_an_estimate_in_its_order(made):
    parts = estimate(*made)
    networks_of_a_seed = ["train ann", "convert", "train hire"]
    assert [part.name for part in parts] == [
        *networks_of_a_seed,
        *(f"{name} (second seed)" for name in networks_of_a_seed),
        "attack fgsm",
        "attack pgd",
    ]
    assert all(part.seconds > 0 for part in parts)


def test_finished_networks_are_left_out(made):
    parts = estimate(*made, done=lambda method, seed: method == "ann" or seed == 1)
    assert [part.name for part in parts] == ["convert", "train hire", "attack fgsm", "attack pgd"]


def test_twice_the_epochs_take_twice_the_time(made, monkeypatch):
    monkeypatch.setattr("minihire.study.estimate._training_batch", lambda *_: 2.0)
    config, backend, images = made
    config = replace(config, black_box=False)
    once, twice = (
        {part.name: part.seconds for part in estimate(c, backend, images)}
        for c in (config, replace(config, snn_epochs=4))
    )
    # 45 images in batches of 20: 3 batches in an epoch
    assert once["train hire"] == 12.0 and twice["train hire"] == 24.0
    assert once["train ann"] == twice["train ann"] == 40.0


def test_a_method_that_trains_an_ann_is_estimated_on_one(made, monkeypatch):
    monkeypatch.setattr("minihire.study.estimate._training_batch", lambda network, *_: 2.0 if network.spiking else 1.0)
    config, backend, images = made
    config = replace(config, black_box=False, methods=("adversarial-ann", "hire"))
    parts = {part.name: part.seconds for part in estimate(config, backend, images)}
    assert parts["train adversarial-ann"] == parts["train ann"] and parts["train hire"] == 2 * 3 * config.snn_epochs


def test_dry_run_prints_the_time_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = "--train-limit 100 --test-limit 20 --ann-epochs 1 --snn-epochs 1 --calibration-images 20 --threads 1 --no-black-box"
    code, said = command("run", "--dry-run", *flags.split())
    assert code == 0 and "train hire" in said and "attack pgd" in said and "about" in said
    assert not list(tmp_path.iterdir())


@pytest.fixture
def dead(monkeypatch):
    """The untrained ANN has a layer that receives no positive current, so `convert` refuses it."""

    def new_ann(*arguments):
        ann = networks.new_ann(*arguments)
        ann.parameters["conv2.weight"][...] = 0
        return ann

    monkeypatch.setattr("minihire.study.estimate.new_ann", new_ann)


@pytest.mark.parametrize("left", ["everything", "nothing"])
def test_the_untrained_network_of_the_estimate_need_not_be_one_that_can_be_converted(made, dead, left):
    parts = estimate(*made, done=lambda method, seed: left == "nothing")
    assert len(parts) == (8 if left == "everything" else 2) and all(part.seconds > 0 for part in parts)


def test_ctrl_c_stops_the_estimate(made, monkeypatch):
    calls = []

    def stopped_at_first(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise Interrupted("stopped converting")
        return networks.converted_snn(*arguments)

    monkeypatch.setattr("minihire.study.estimate.converted_snn", stopped_at_first)
    with pytest.raises(Interrupted):
        estimate(*made)


def test_the_first_batches_which_compile_are_not_measured_where_an_epoch_has_one(made, monkeypatch):
    config, backend, images = made
    config = replace(config, ann_batch_size=64, batch_size=64)  # more than the 45 images
    times, number = [0.0], [0]

    def train_batch(training):
        number[0] += 1
        times[0] += 100.0 if training.epoch == training.batch == 0 and number[0] == 1 else 1.0

    monkeypatch.setattr("minihire.study.estimate.perf_counter", lambda: times[0])
    monkeypatch.setattr("minihire.study.estimate.Training.train_batch", train_batch)
    parts = {part.name: part.seconds for part in estimate(replace(config, black_box=False), backend, images)}
    assert parts["train ann"] == config.ann_epochs
