"""docs/extending.md: runs every example of the page, uses it, and checks its gradients against finite differences."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from handbook_pages import DOCS, blocks, run

from backends import BACKENDS, BackendError, get_backend
from backends.interface import NeuronState
from backends.surrogates import TABLE, Surrogate, arctan, exponential
from minihire import data
from minihire.analysis import measure_activity, measure_energy
from minihire.app import cli
from minihire.attacks import ATTACKS, MEMBERS, apgd, attack_accuracy, evaluate_robustness, pgd, red_flags, suite
from minihire.data.dataset import Dataset
from minihire.data.loading import READERS
from minihire.engine import Tape, Variable, ops
from minihire.engine.lif import NeuronOptions
from minihire.layers import ForwardContext
from minihire.models import MODELS, build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError
from minihire.runtime.progress import Progress
from minihire.training import (
    Adversarial,
    Calibration,
    CraftedNoise,
    Recipe,
    callbacks,
    checkpoint,
    convert,
    cost_per_batch,
    train,
    training_attack,
)

EXAMPLES = blocks("extending.md")
SOFT = NeuronOptions(surrogate=exponential(1.5), reset_grad=True, soft=True)  # has no kinks but at z = 0


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    """Without progress lines; restores the tables to which the examples add rows."""
    monkeypatch.setattr(Progress, "quiet", True)
    before = [(table, dict(table)) for table in (MODELS, ATTACKS, READERS, BACKENDS)]
    yield
    for table, rows in before:
        table.clear()
        table.update(rows)


@pytest.fixture
def example(monkeypatch):
    """example("A layer"): the names of that section's code, run as one module."""
    return lambda heading: run("\n".join(EXAMPLES[heading]), "example", monkeypatch)


@pytest.fixture
def images():
    """24 images of 4 classes; the brightness of an image depends on its class."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 4
    pixels = np.clip(rng.normal(60 + 45 * labels[:, None, None, None], 25, (24, 8, 8, 3)), 0, 255).astype(np.uint8)
    return Dataset("tiny", pixels, labels, tuple("abcd"), (0.5,) * 3, (0.25,) * 3)


def network_of(name, k, spiking=True, threshold=0.3, **options):
    model = build(name, 4, (8, 8, 3), width=1 / 16, hidden=12, dropout=0.0)
    parameters = initialise(model, k, 1, spiking)
    parameters |= {p: k.asarray([threshold]) for p in parameters if p.endswith("threshold")}
    parameters |= {p: k.asarray([0.8]) for p in parameters if p.endswith("leak")}
    return Network(model, k, parameters, spiking=spiking, steps=5 if spiking else 1, **options)


def test_each_example_has_fewer_than_forty_lines():
    assert set(EXAMPLES) == {"A neuron", "A layer", "An attack", "A noise rule", "A callback", "A kernel", "A data set"}
    for codes in EXAMPLES.values():
        assert sum(bool(line.strip()) for code in codes for line in code.splitlines()) < 40


# ---------------------------------------------------------------- the callback


def test_the_callback_logs_every_epoch_of_every_training(example, images, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            written.append((self.folder, name, value, step))

    for name in ("torch", "torch.utils", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(SummaryWriter=SummaryWriter))
    monkeypatch.setattr("minihire.training.callbacks.CALLBACKS", [])
    example("A callback")
    monkeypatch.setattr("minihire.training.loop.CALLBACKS", callbacks.CALLBACKS)
    network = network_of("vgg5", get_backend("numba", threads=1), spiking=False)
    training = train(network, Recipe(2, 8, "sgd", 0.01), images, label="ANN")
    expected = [
        ("logs/ANN", name, row[name], row["epoch"]) for row in training.history for name in ("accuracy", "loss")
    ]
    assert sorted(written, key=lambda entry: (entry[3], entry[1])) == expected


# ---------------------------------------------------------------- the neuron


def fire(example, k, arrays, needs_grad=True, steps=5, options=SOFT):
    """Run the example's neuron: tape, variables, spikes, last membrane. arrays: current, leak, threshold, first membrane."""
    current, leak, threshold, start = (Variable(k.asarray(a), needs_grad) for a in arrays)
    tape = Tape(k)
    weights = {"n.threshold": threshold, "n.leak": leak}
    pass_ = ForwardContext(tape, weights, True, steps, options, state={"n": NeuronState(start)})
    spikes = example["HardReset"]("n")(pass_, current)
    return tape, [current, leak, threshold, start], spikes, pass_.end_state["n"].membrane


@pytest.mark.parametrize("static", [False, True])
def test_the_neuron_s_gradients(example, exact, check_gradient, static):
    """Gradients of the spikes and the last membrane with respect to current, λ, v and first membrane."""
    names, rng = example("A neuron"), np.random.default_rng(3)
    arrays = [
        rng.uniform(-0.4, 1.4, (1 if static else 5, 2, 6)),
        np.array([0.7]),
        np.array([0.9]),
        rng.uniform(0, 0.5, (2, 6)),
    ]
    weights = rng.standard_normal((5, 2, 6)), rng.standard_normal((2, 6))

    def loss(*values):
        _, _, spikes, last = fire(names, exact, values, needs_grad=False)
        return np.vdot(weights[0], spikes.value) + np.vdot(weights[1], last.value)

    tape, variables, spikes, last = fire(names, exact, arrays)
    tape.backward([(spikes, weights[0]), (last, weights[1])])
    grads = [x.grad for x in variables]
    assert all(np.abs(g).max() > 1e-3 for g in grads)
    check_gradient(loss, arrays, grads)


def test_the_neuron_resets_to_zero(example, exact):
    """By hand: λ = 0.5, v = 1, a current of 0.8: the third membrane is above the threshold, and the next starts from 0."""
    arrays = [np.full((1, 1, 1), 0.8), [0.5], [1.0], np.zeros((1, 1))]
    _, _, spikes, last = fire(example("A neuron"), exact, arrays, options=NeuronOptions())
    assert spikes.value.ravel().tolist() == [0, 1, 0, 1, 0] and last.value.ravel().tolist() == [0.8]


@pytest.mark.slow
@pytest.mark.parametrize("backend_name", ["reference", "numba", "torch"])
def test_a_network_of_it_is_converted_trained_attacked_measured_and_kept(example, images, tmp_path, backend_name):
    if backend_name == "torch":
        pytest.importorskip("torch")
    names, k = example("A neuron"), get_backend(backend_name, threads=1)
    ann = network_of("vgg5-hard", k, spiking=False)
    snn = convert(ann, images, steps=4, calibration=Calibration(images=8, steps=30))
    before = {name: k.to_numpy(array).copy() for name, array in snn.parameters.items()}
    recipe = Recipe(
        epochs=1, batch_size=8, learning_rate=1e-3, periods=2, noise=CraftedNoise(0.01, 0.01), augment=False
    )
    train(snn, recipe, images)
    moved = {name for name, array in snn.parameters.items() if (k.to_numpy(array) != before[name]).any()}
    assert {"conv1.weight", "neuron1.threshold", "neuron2.leak"} <= moved
    right = attack_accuracy(snn, images, pgd(iterations=2))
    assert right.shape == (24,)
    activity = measure_activity(snn, [k.asarray(images.images / 255)])
    assert sum(row.kind == "Neuron" and row.spikes > 0 for row in activity) >= 3
    assert measure_energy(snn, activity).total("fp32") > 0
    checkpoint.save(tmp_path / "hard.npz", snn)
    again = checkpoint.load(tmp_path / "hard.npz").network(k)
    assert sum(type(layer) is names["HardReset"] for layer, _ in again.model.walk()) == 5
    pixels = k.asarray(images.images / 255)
    np.testing.assert_array_equal(k.to_numpy(again.forward(pixels)), k.to_numpy(snn.forward(pixels)))


def test_time_chunks_change_nothing(example, exact, images):
    example("A neuron")
    pixels, found = exact.asarray(images.images / 255), []
    for chunk in (None, 2):
        network = network_of("vgg5-hard", exact, time_chunk=chunk)
        found.append(network.gradients(pixels, images.labels, image=True, training=False))
    np.testing.assert_allclose(found[1].image, found[0].image, rtol=1e-10, atol=1e-14)
    assert np.abs(found[0].image).max() > 0
    for name, grad in found[0].weights.items():
        np.testing.assert_allclose(found[1].weights[name], grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend_name", ["reference", "numba", "torch"])
def test_a_surrogate_is_one_row_of_the_table_on_the_reference_backend(images, monkeypatch, backend_name):
    if backend_name == "torch":
        pytest.importorskip("torch")
    monkeypatch.setitem(TABLE, "mine", TABLE["arctan"])
    given, known, k = Surrogate("mine", 1.0, 2.0), arctan(2.0), get_backend(backend_name, threads=1)
    network = network_of("vgg5", k, neuron=NeuronOptions(surrogate=given))
    attack = pgd(0.1, 0.05, 2, random_start=False)
    if backend_name != "reference":
        with pytest.raises(BackendError, match="(do|does) not compute the surrogate 'mine': use the reference backend"):
            attack_accuracy(network, images, attack)
        return
    found = network.copy(neuron=NeuronOptions(surrogate=known))
    assert np.array_equal(attack_accuracy(network, images, attack), attack_accuracy(found, images, attack))


@pytest.mark.parametrize("row", [None, (np.sin, None), (lambda z: z, lambda z: z), (np.sin,)])
def test_a_wrong_row_of_surrogates_is_refused_in_one_sentence(monkeypatch, row):
    monkeypatch.setitem(TABLE, "mine", row)
    with pytest.raises(MinihireError, match="row 'mine' of TABLE is .*: (give|let it take) .*"):
        NeuronOptions(surrogate=Surrogate("mine", 1.0, 2.0))


# ---------------------------------------------------------------- the layer


def test_the_layer_s_gradients(example, exact, check_gradient):
    names, rng = example("A layer"), np.random.default_rng(4)
    arrays, readout = (
        [rng.standard_normal((3, 2, 4, 4, 5)), rng.standard_normal(5)],
        rng.standard_normal((3, 2, 4, 4, 5)),
    )

    def record(values, needs_grad):
        tape, variables = Tape(exact), [Variable(a, needs_grad) for a in values]
        return tape, variables, names["gain"](tape, *variables)

    tape, variables, out = record(arrays, True)
    np.testing.assert_array_equal(out.value, arrays[0] * arrays[1])
    tape.backward([(out, readout)])
    loss = lambda *values: np.vdot(readout, record(values, False)[2].value)
    check_gradient(loss, arrays, [x.grad for x in variables])


def test_a_network_with_the_layer_learns_its_gains_and_costs_no_operations(example, images):
    example("A layer")
    k = get_backend("numba", threads=1)
    ann = network_of("vgg5-gain", k, spiking=False)
    assert k.to_numpy(ann.parameters["conv2.gain.weight"]).tolist() == [1.0] * 8
    snn = convert(ann, images, steps=4, calibration=Calibration(images=8, steps=4))
    train(snn, Recipe(epochs=1, batch_size=8, learning_rate=1e-3, augment=False, freeze=True), images)
    assert (k.to_numpy(snn.parameters["conv2.gain.weight"]) != 1).any()
    assert [row.weights for row in snn.model.table() if row.kind == "Gain"] == [4, 8, 8]
    activity = measure_activity(snn, [k.asarray(images.images / 255)])
    plain = build("vgg5", 4, (8, 8, 3), width=1 / 16, hidden=12)
    found = [(row.name, row.dense) for row in measure_energy(snn, activity).layers]
    assert found == [(row.name, row.operations) for row in plain.table() if row.operations]


# ---------------------------------------------------------------- the attack


def test_the_attack_without_momentum_is_pgd_and_with_it_another(example, images):
    attack, k = example("An attack")["MomentumAttack"], get_backend("numba", threads=1)
    network = network_of("vgg5", k)
    pixels, labels = k.asarray(images.images / 255), k.asarray(images.labels)
    craft = lambda a: k.to_numpy(a.attacker(network)(pixels, labels)).copy()
    straight = craft(pgd(0.05, 0.02, 5, random_start=False))
    np.testing.assert_array_equal(craft(attack("mi-fgsm", 0.05, 0.02, 5, decay=0.0)), straight)
    crafted = craft(attack("mi-fgsm", 0.05, 0.02, 5))
    assert (crafted != straight).any()
    assert np.abs(crafted - k.to_numpy(pixels)).max() <= 0.05 + 1e-6 and crafted.min() >= 0 and crafted.max() <= 1
    loss = lambda x: k.to_numpy(network.gradients(k.asarray(x), labels, weights=False, training=False).losses).mean()
    assert loss(crafted) > loss(images.images / 255)


def test_the_attack_is_evaluated_like_any_other_whatever_the_batch(example, images):
    attack = example("An attack")["MomentumAttack"]("mi-fgsm", 8 / 255, 2 / 255, 3)
    network = network_of("vgg5", get_backend("numba", threads=1), coding="rate")
    found = [attack_accuracy(network, images, attack, batch_size=size) for size in (24, 7)]
    np.testing.assert_array_equal(*found)
    with pytest.raises(MinihireError, match="the attack.s ε is -1: give a number from 0 to 1"):
        example("An attack")["MomentumAttack"]("mi-fgsm", -1, 0.1, 3)


# ---------------------------------------------------------------- the noise rule


def test_the_noise_rule_trains_on_a_share_of_the_attack(example, images):
    softened, attack = example("A noise rule")["Softened"], training_attack(0.1, 2)
    kappas = []
    for noise in (Adversarial(attack), softened(attack, share=0.25)):
        recipe = Recipe(epochs=1, batch_size=24, noise=noise)
        assert cost_per_batch(recipe, 5) == (3, 15)
        training = train(network_of("vgg5", get_backend("numba", threads=1)), recipe, images)
        kappas.append(training.kappa.copy())
    assert abs(kappas[0]).max() > 0.09
    np.testing.assert_allclose(kappas[1], kappas[0] / 4, rtol=0, atol=1e-7)


# ---------------------------------------------------------------- on the command line


@pytest.mark.slow
def test_the_lines_for_the_command_line_run_with_the_examples_as_modules(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, heading in (("gain", "A layer"), ("momentum", "An attack")):
        (tmp_path / f"{name}.py").write_text("\n".join(EXAMPLES[heading]), encoding="utf-8")
    (lines,) = blocks("extending.md", "bash")["Your file on the command line"]
    less = {  # so that the test takes seconds
        "train": "--width 0.03125 --hidden 12 --train-limit 60 --heldout 5 --ann-epochs 2 --ann-batch-size 10",
        "convert": "--calibration-images 8 --calibration-steps 8",
        "attack": "--test-limit 10",
    }
    for line in lines.splitlines():
        words = line.split()[1:]
        assert cli.main([*words, *less.get(words[0], "").split(), *(["--quiet"] if words[0] != "info" else [])]) == 0
    out = capsys.readouterr().out
    assert re.search(r"conv1\.gain +Gain", out)
    assert [line.split()[0] for line in out.splitlines()[-3:]] == ["clean", "pgd", "mi-fgsm"]


def test_a_backend_of_a_module_has_its_name_on_the_command_line(tmp_path, capsys):
    (tmp_path / "sparse.py").write_text("\n".join(EXAMPLES["A kernel"]), encoding="utf-8")
    network = DOCS.parent / "tests" / "golden" / "run" / "models" / "hire.npz"
    flags = ["--module", str(tmp_path / "sparse.py"), "--backend", "sparse", "--test-limit", "5", "--attacks", "fgsm"]
    assert cli.main(["attack", str(network), *flags]) == 0
    assert "fgsm" in capsys.readouterr().out and "sparse" in BACKENDS


# ---------------------------------------------------------------- the kernel


def test_the_kernels_equal_the_reference_s_and_are_used(example, exact, images):
    cls, rng = example("A kernel")["SparseBackend"], np.random.default_rng(5)
    sparse = get_backend("sparse", dtype="float64")
    assert type(sparse) is cls and sparse.name == "sparse"
    x, weight = (rng.random((4, 3, 20)) < 0.2) * 1.0, rng.standard_normal((20, 7))
    grad = rng.standard_normal((4, 3, 7))
    found = []
    for k in (sparse, exact):
        out, saved = k.linear(x, weight)
        found.append([out, *k.linear_backward(saved, grad)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    pixels = images.images / 255
    ours, theirs = (network_of("vgg5", k).gradients(pixels, images.labels, image=True) for k in (sparse, exact))
    np.testing.assert_allclose(ours.image, theirs.image, rtol=1e-9, atol=1e-13)
    assert np.abs(theirs.image).max() > 0


def test_the_kernels_gradients(example, check_gradient):
    k, rng = example("A kernel")["SparseBackend"]("float64"), np.random.default_rng(6)
    arrays, readout = [rng.standard_normal((2, 3, 6)), rng.standard_normal((6, 4))], rng.standard_normal((2, 3, 4))
    tape, (x, w) = Tape(k), (Variable(a, True) for a in arrays)
    tape.backward([(ops.linear(tape, x, w), readout)])
    check_gradient(lambda a, b: np.vdot(readout, k.linear(a, b)[0]), arrays, [x.grad, w.grad])


# ---------------------------------------------------------------- the data set


def test_the_data_set_is_read_split_and_trained_on(example, images, tmp_path):
    example("A data set")
    parts = {"train": images.images[:20], "test": images.images[20:]}
    labels = {"train_labels": images.labels[:20].astype(np.uint8), "test_labels": images.labels[20:]}
    np.savez(tmp_path / "images.npz", names=np.array(images.classes), **parts, **labels)
    splits = data.load("npz", tmp_path, seed=3, heldout=4)
    assert (len(splits.train), len(splits.heldout), len(splits.test)) == (16, 4, 4)
    np.testing.assert_array_equal(splits.test.images, images.images[20:])
    assert splits.train.classes == tuple("abcd") and splits.train.mean == pytest.approx((0.5,) * 3, abs=0.1)
    k = get_backend("numba", threads=1)
    done = train(network_of("vgg5", k, spiking=False), Recipe(epochs=1, batch_size=8, augment=False), splits.train)
    assert done.history[0]["loss"] > 0


def test_the_data_set_s_errors_are_sentences(example, images, tmp_path):
    example("A data set")
    with pytest.raises(MinihireError, match="give the folder of a complete images.npz"):
        data.load("npz", tmp_path)
    np.savez(tmp_path / "images.npz", train=images.images)
    with pytest.raises(MinihireError, match="give the folder of a complete images.npz"):
        data.load("npz", tmp_path)
    with pytest.raises(MinihireError, match="there is no data set 'tiff'; choose one of shapes, .*, npz"):
        data.load("tiff", tmp_path)


def test_the_strong_suite_leaves_out_what_needs_the_built_in_neuron(example, images, monkeypatch):
    example("A neuron")
    network = network_of("vgg5-hard", get_backend("numba", threads=1))
    for name, value in {"PGD_STEPS": 2, "APGD_STEPS": 3, "RESTARTS": 1, "QUERIES": {"small": 3, "full": 3}}.items():
        monkeypatch.setattr(suite, name, value)
    monkeypatch.setattr(red_flags, "apgd", lambda epsilon, steps: apgd(epsilon, 3))
    few = [member for member in MEMBERS if member.name in ("arctan-2", "rate", "activation-only")]
    found = evaluate_robustness(network, images, "strong", epsilon=0.001, members=few)
    ran = {row["name"] for row in found.stages}
    assert "pgd-2 arctan-2" in ran and "pgd-2 activation-only" in ran
    assert not any("rate" in name or "sa-pgd" in name for name in ran)
    up = [flag["text"] for flag in found.flags if flag["name"] == "neurons of your own"]
    assert up == ["SA-PGD and the surrogate rate need minihire's neurons; not run"] and not found.established
