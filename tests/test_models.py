"""Models: their sizes compared with numbers worked out by hand, the places of dropout, and the descriptions that are refused."""

import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draws
from minihire import Recipe, attack_accuracy, fgsm, load_checkpoint, load_data, models, save_checkpoint, train
from minihire.engine import Tape, Variable
from minihire.layers import AvgPool, Branches, Conv2d, Flatten, ForwardContext, Linear, Neuron, Readout, Residual
from minihire.models import MODELS, VGG, assemble, build, rebuild
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError


def weights(model):
    return sum(row.weights for row in model.table())


def test_number_of_weights():
    """Counted without building arrays. VGG5: 3·3·(3·64 + 64·128 + 128·128) + 8192·4096 + 4096² + 4096·10."""
    assert weights(build("vgg5")) == 50_595_520
    assert weights(build("resnet12")) == 4_986_560
    assert weights(build("vgg11", classes=100)) == 61_728_448


@pytest.mark.parametrize("name", MODELS)
def test_the_table_counts_the_parameters(name):
    """Every spiking layer adds one threshold and one leak."""
    model = build(name)
    arrays = model.parameters(spiking=False)
    assert weights(model) == sum(math.prod(p.shape) for p in arrays.values())
    neurons = [row.name for row in model.table() if row.kind == "Neuron"]
    assert model.parameters(spiking=True).keys() - arrays.keys() == {
        f"{n}.{p}" for n in neurons for p in ("threshold", "leak")
    }
    more = model.parameters(spiking=True, readout="spikes").keys() - model.parameters(spiking=True).keys()
    assert more == {"readout.threshold", "readout.leak"}


def test_operations_of_vgg5_layer_by_layer():
    """k²·H_o·W_o·C_o·C_i: 9·32²·64·3, 9·16²·128·64, 9·16²·128·128, then the matrices."""
    rows = [
        (row.name, row.input_shape, row.output_shape, row.operations) for row in build("vgg5").table() if row.operations
    ]
    assert rows == [
        ("conv1", (32, 32, 3), (32, 32, 64), 1_769_472),
        ("conv2", (16, 16, 64), (16, 16, 128), 18_874_368),
        ("conv3", (16, 16, 128), (16, 16, 128), 37_748_736),
        ("linear1", (8192,), (4096,), 33_554_432),
        ("linear2", (4096,), (4096,), 16_777_216),
        ("readout", (4096,), (10,), 40_960),
    ]


def test_operations_of_resnet12_include_strides_and_shortcuts():
    found = {row.name: row.operations for row in build("resnet12").table() if row.operations}
    assert found == {
        "conv1": 1_769_472,
        "conv2": 37_748_736,
        "conv3": 37_748_736,
        "block1.conv1": 9_437_184,
        "block1.conv2": 9_437_184,  # 9·16²·64·64, and an identity
        "block2.conv1": 4_718_592,
        "block2.conv2": 9_437_184,
        "block2.shortcut": 524_288,  # 8², 8²·128·64
        "block3.conv1": 4_718_592,
        "block3.conv2": 9_437_184,
        "block3.shortcut": 524_288,
        "block4.conv1": 4_718_592,
        "block4.conv2": 9_437_184,
        "block4.shortcut": 524_288,
        "readout": 20_480,
    }


def test_default_steps_are_the_paper_s():
    assert [build(name).steps for name in ("vgg5", "vgg11", "resnet12")] == [6, 8, 10]


@pytest.mark.parametrize("name", MODELS)
def test_no_dropout_before_a_pool_nor_after_a_block(name):
    """All other neurons have a dropout of 0.2 and their own stream of masks."""
    layers = [layer for layer, _ in build(name, image_shape=(64, 64, 3)).walk()]
    neurons = [
        (layer, after) for layer, after in zip(layers, [*layers[1:], None], strict=True) if isinstance(layer, Neuron)
    ]
    for neuron, after in neurons:
        without = isinstance(after, AvgPool) or neuron.name.endswith(".neuron2")
        assert neuron.dropout == (0.0 if without else 0.2), neuron.name
    indices = [neuron.index for neuron, _ in neurons if neuron.dropout]
    assert len(indices) == len(set(indices)) > 0
    assert any(isinstance(after, AvgPool) for _, after in neurons)


def test_width_and_hidden_scale_the_network():
    model = build("vgg5", width=1 / 16, hidden=16)
    assert [row.output_shape for row in model.table() if row.operations] == [
        (32, 32, 4),
        (16, 16, 8),
        (16, 16, 8),
        (16,),
        (16,),
        (10,),
    ]
    assert [row.output_shape[-1] for row in build("resnet12", width=0.25).table() if row.kind == "Conv2d"][:5] == [
        16
    ] * 5
    # at least one channel
    assert all(row.output_shape[-1] == 1 for row in build("resnet12", width=1e-3).table() if row.kind == "Conv2d")


def test_dropout_is_an_option():
    rates = {layer.dropout for layer, _ in build("vgg11", dropout=0.35).walk() if isinstance(layer, Neuron)}
    assert rates == {0.0, 0.35}


def test_a_model_is_added_by_one_row_of_the_table(monkeypatch):
    monkeypatch.setitem(MODELS, "tiny", VGG((8, models.A, 16), (5,), steps=3))
    model = build("tiny", 4, (6, 6, 1))
    assert model.steps == 3
    assert [(row.name, row.output_shape) for row in model.table() if row.operations] == [
        ("conv1", (6, 6, 8)),
        ("conv2", (3, 3, 16)),
        ("linear1", (5,)),
        ("readout", (4,)),
    ]


def test_a_model_is_rebuilt_from_its_description():
    model = build("vgg11", 7, (48, 48, 3), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), width=0.5, hidden=11, dropout=0.1)
    assert build(**model.describe()) == model
    assert build(**build("resnet12").describe()) == build("resnet12")


@pytest.mark.parametrize("name, side", [("vgg5", 3), ("vgg11", 7), ("resnet12", 1)])
def test_images_that_are_too_small_are_refused(name, side):
    with pytest.raises(MinihireError, match=f"{name} halves the image too often for {side}×{side} pixels: use larger"):
        build(name, image_shape=(side, side, 3))
    assert build(name, image_shape=(side + 1, side + 1, 3)).table()


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"name": "vgg6"}, "there is no model 'vgg6': choose vgg5, "),
        ({"name": "vgg5", "width": 0.0}, "the model's width is 0.0: give a number above 0"),
        ({"name": "vgg5", "width": float("nan")}, "the model's width is nan"),
        ({"name": "vgg5", "width": 1e307}, "the model's width is 1e+307: give a number from 0 to 1000"),
        ({"name": "resnet12", "width": -1.0}, "the model's width is -1.0: give a number from 0 to 1000"),
        ({"name": "vgg5", "hidden": 0}, "number of hidden neurons is 0: give a whole number of at least 1"),
        ({"name": "vgg5", "hidden": 64.5}, "number of hidden neurons is 64.5"),
        ({"name": "vgg5", "dropout": 1.0}, "the model's dropout is 1.0, which drops all spikes: give a number below 1"),
        ({"name": "vgg5", "classes": 1}, "the number of classes is 1: give a whole number of at least 2"),
        ({"name": "vgg5", "classes": 10.0}, "the number of classes is 10.0"),
        ({"name": "vgg5", "image_shape": (32, 32)}, "the image shape is (32, 32): give (height, width, channels)"),
        ({"name": "vgg5", "image_shape": (32, 32, 0)}, "the image shape is (32, 32, 0)"),
        ({"name": "vgg5", "std": (float("inf"),) * 3}, "a finite mean and a std above 0 for each of 3 channels"),
        ({"name": "vgg5", "mean": 0.5}, "a finite mean and a std above 0 for each of 3 channels, not 0.5"),
    ],
)
def test_impossible_descriptions_are_refused_in_one_sentence(arguments, says):
    with pytest.raises(MinihireError) as error:
        build(**arguments)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_row_of_another_kind_needs_steps_and_layers(monkeypatch):
    """A neuron's variant counts as a Neuron in the table; a layer with neither weights nor spikes is not in it."""

    class Variant(Neuron):
        pass

    class Row:
        steps = 2

        def layers(self, width, hidden, dropout):
            return [models.AvgPool(), models.Flatten(), models.Linear("linear1", hidden), Variant("neuron1", dropout)]

    class NoFlatten(Row):
        def layers(self, width, hidden, dropout):
            return [models.Linear("linear1", hidden)]

    monkeypatch.setitem(MODELS, "other", Row())
    monkeypatch.setitem(MODELS, "flat", NoFlatten())
    with pytest.raises(MinihireError, match="linear1 needs a Flatten before it, because its input is"):
        build("flat", 3, (4, 4, 2), hidden=5)
    model = build("other", 3, (4, 4, 2), hidden=5, dropout=0.5)
    assert model.steps == 2 and build(**model.describe()) == model
    assert [(row.name, row.kind, row.weights) for row in model.table()] == [
        ("linear1", "Linear", 40),
        ("neuron1", "Neuron", 0),
        ("readout", "Readout", 15),
    ]


class Own:
    """A row of MODELS with one layer of its own."""

    steps = 2

    def __init__(self, *layers):
        self.list = layers

    def layers(self, width, hidden, dropout):
        return [*self.list, Flatten()]


class Plain:
    """A layer that returns its input."""

    name = "plain"

    def output_shape(self, shape):
        return shape

    def parameters(self, shape, spiking):
        return {}

    def __call__(self, ctx, x):
        return x


def varied(kind, **methods):
    """A class like another one, with other methods."""
    return type("Varied", (kind,), methods)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        *((row, "the row 'mine' of MODELS is .*: give an object with the attribute steps and the method layers")
          for row in (None, "vgg5", Own, lambda width, hidden, dropout: [], SimpleNamespace(steps=2))),
        (varied(Own, layers=lambda self: [])(), r"^layers of the row 'mine' of MODELS is <lambda>\(\): let it take \(width, hid"),
        (varied(Own, layers=lambda *a: None)(), "^the layers of the row 'mine' of MODELS are None: give a list"),
        (varied(Own, steps=0)(), "^steps of the row 'mine' of MODELS is 0: give a whole number of at least 1$"),
        (VGG((8, "A"), (16,), steps=0), "^steps of the row 'mine' of MODELS is 0: give a whole number of at least 1$"),
        (VGG((8, "A"), hidden=16), "^the hidden sizes of a VGG are 16: give a list, even of one$"),
        (VGG((8, "M"), (16,)), "^a number of channels in MODELS is 'M': give a whole number of at least 1$"),
        (VGG((-8, "A"), (16,)), "^a number of channels in MODELS is -8: give a whole number of at least 1$"),
        (Own(Flatten(), Conv2d("c", 4)), r"do not fit images of \(8, 8, 3\): c cannot take an input of \(192,\)$"),
        (Own(Flatten), r"^Flatten is a class: give an object of it, as in Flatten\(…\)$"),
        (Own("conv"), r"^output_shape of the layer str is None: give a function that takes \(shape\)$"),
        (Own(varied(Plain, output_shape=lambda *a: None)()), "^output_shape of the layer plain returned None: return whole"),
        (Own(varied(Plain, parameters=lambda self, shape: {})()), r"^parameters of the layer plain is .*: let it take \(shape,"),
        (
            Own(varied(Plain, parameters=lambda *a: {"plain.weight": (3,)})()),
            "^parameters of the layer plain returned {'plain.weight': .3,.}: return a Parameter for each name$",
        ),
        (Own(varied(Plain, __call__=lambda self, x: x)()), r"^__call__ of the layer plain is .*: let it take \(ctx, x\)$"),
        (Own(varied(Neuron, fire=lambda self, ctx, x: x)("n")), r"^fire of the layer n is .*: let it take \(ctx, x, leak, thr"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_in_one_sentence(monkeypatch, row, says):
    monkeypatch.setitem(MODELS, "mine", row)
    with pytest.raises(MinihireError, match=says) as error:
        build("mine", 4, (8, 8, 3))
    assert "\n" not in str(error.value)


def unrecorded(self, ctx, x):
    return Variable(x.value * 2)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (varied(Plain, __call__=lambda *a: None)(), "^the layer plain returned NoneType: let it return a Variable$"),
        (varied(Plain, __call__=lambda self, ctx, x: x.value)(), "^the layer plain returned ndarray: let it return a Var"),
        (varied(Plain, __call__=unrecorded)(), "^conv.weight has no gradient: let its layer and those after it record"),
        (varied(Neuron, fire=lambda *a: None)("n"), "^fire of n returned NoneType: let it return .spikes, last state.$"),
        (varied(Neuron, fire=lambda self, ctx, x, *a: x)("n"), "^fire of n returned Variable: let it return .spikes, last st"),
        (varied(Neuron, fire=lambda self, ctx, x, *a: (x, x))("n"), "^the last state that fire of n returned is .*: give a Neur"),
    ],
)  # fmt: skip
def test_a_layer_that_returns_the_wrong_thing_is_named(monkeypatch, layer, says):
    k, images = get_backend("reference"), load_data("shapes", train_limit=8, test_limit=2).train
    monkeypatch.setitem(MODELS, "mine", Own(Conv2d("conv", 2, stride=4), layer))
    model = build("mine", len(images.classes), images.shape)
    network = Network(model, k, initialise(model, k, 0, spiking=True), spiking=True, steps=2)
    with pytest.raises(MinihireError, match=says):
        train(network, Recipe(epochs=1, batch_size=8, carry_membranes=True), images)


def test_an_image_without_a_gradient_is_refused(monkeypatch):
    k, images = get_backend("reference"), load_data("shapes", train_limit=8, test_limit=2).test
    monkeypatch.setitem(MODELS, "mine", Own(varied(Plain, __call__=unrecorded)()))
    model = build("mine", len(images.classes), images.shape)
    network = Network(model, k, initialise(model, k, 0))
    with pytest.raises(MinihireError, match="^the image has no gradient: let each layer of mine record its operation"):
        attack_accuracy(network, images, fgsm())


def test_a_neuron_without_memory_needs_no_last_state(monkeypatch):
    k = get_backend("reference")
    monkeypatch.setitem(MODELS, "mine", Own(varied(Neuron, fire=lambda self, ctx, x, *a: (x, None))("n")))
    model = build("mine", 4, (8, 8, 3))
    network = Network(model, k, initialise(model, k, 0, spiking=True), spiking=True, steps=4)
    images, labels = k.zeros((2, 8, 8, 3)), np.array([0, 1])
    found = [network.view(time_chunk=chunk).gradients(images, labels, image=True).image for chunk in (None, 2)]
    np.testing.assert_allclose(*found)


def test_a_model_of_any_layers_is_rebuilt_from_its_description():
    branches = (Conv2d("a", 4, bias=True), Neuron("n", 0.5, 2), Conv2d("b", 3)), ()
    layers = [Branches("sum", *branches), Neuron("m"), Flatten(), Linear("l", 5), Readout("r", 4, bias=True)]
    model = assemble("mine", layers, (6, 6, 3), 4, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), steps=7)
    assert rebuild(model.describe()) == model and model.steps == 7
    assert [(row.name, row.weights) for row in model.table() if row.weights] == [
        ("a", 3 * 3 * 3 * 4 + 4),
        ("b", 3 * 3 * 4 * 3),
        ("l", 108 * 5),
        ("r", 5 * 4 + 4),
    ]
    assert rebuild(build("vgg5").describe()) == build("vgg5")


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([Flatten(), Linear("l", 4)], "the last layer of mine must be a Readout of 4 classes"),
        ([Flatten(), Readout("r", 5)], "the last layer of mine must be a Readout of 4 classes"),
        ([], "the last layer of mine must be a Readout of 4 classes"),
        ([Conv2d("c", 2, 9, padding=0), Flatten(), Readout("r", 4)], "c leaves nothing of the image"),
        ([Branches("s", (Conv2d("a", 4),), ()), Flatten(), Readout("r", 4)], "the branches of s end in the shapes"),
        ([Linear("l", 4), Readout("r", 4)], "l needs a Flatten before it, because its input is (6, 6, 3)"),
        ([Readout("r", 4)], "r needs a Flatten before it, because its input is (6, 6, 3)"),
        ([Flatten(), Flatten(), Readout("r", 4)], "the layers of mine do not fit images of (6, 6, 3)"),
        ([Flatten(), Linear("l", 4), Linear("l", 4), Readout("r", 4)], "mine has two layers named 'l'"),
        (
            [Flatten(), Linear("r", 4), Readout("r", 4)],
            "mine has two layers named 'r': give each layer a name of its own",
        ),
        ([Neuron("n"), Branches("s", (Neuron("n"),), ()), Flatten(), Readout("r", 4)], "mine has two layers named 'n'"),
        ([Neuron("r"), Flatten(), Readout("r", 4)], "mine has two layers named 'r'"),
        *(
            (
                [Flatten(), Linear(name, 4), Readout("r", 4)],
                "which a checkpoint cannot contain: give its layer a shorter name",
            )
            for name in ("a\nb", "a\\b", "a" * 1000)
        ),
    ],
)
def test_layers_that_do_not_fit_together_are_refused(layers, says):
    with pytest.raises(MinihireError) as error:
        assemble("mine", layers, (6, 6, 3), 4, mean=(0,) * 3, std=(1,) * 3)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (lambda: Linear("l", 2.5), "features of 'l' is 2.5: give a whole number of at least 1"),
        (lambda: Readout("r", 0), "features of 'r' is 0"),
        (lambda: Conv2d("c", 4, stride=0), "stride of 'c' is 0"),
        (lambda: Conv2d("c", 4, padding=-1), "padding of 'c' is -1: give a whole number of at least 0"),
        (lambda: Neuron("n", 1.0), "dropout of 'n' is 1.0, which drops all spikes"),
        (lambda: Residual("b", 4, 1, "0.5", 1), "dropout of 'b' is '0.5'"),
    ],
)
def test_impossible_layers_are_refused_in_one_sentence(layer, says):
    with pytest.raises(MinihireError) as error:
        layer()
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_network_of_numpy_numbers_and_lists_has_a_checkpoint_that_loads(tmp_path):
    k = get_backend("reference")
    layers = [
        Branches("sum", [Conv2d("conv1", np.int64(3), np.int32(3), bias=np.True_)], []),
        Neuron("n", 0),
        *(Flatten(), Linear("l", np.int64(5), bias=1), Neuron("m", np.float32(0.5), np.int64(3))),
        Readout("r", np.int64(4)),
    ]
    shape, half = np.array([6, 6, 3]), np.full(3, 0.5, np.float32)
    assembled = assemble("mine", layers, shape, np.int64(4), mean=half, std=half, steps=np.int64(3))
    listed = build(
        "vgg5", np.int64(4), (8, 8, np.int64(3)), mean=half, std=half, width=np.float32(0.0625), hidden=np.int64(4)
    )
    for model in (assembled, listed):
        save_checkpoint(tmp_path / "x.npz", Network(model, k, initialise(model, k, seed=0)))
        assert load_checkpoint(tmp_path / "x.npz").network(k).model == model


def test_a_dropout_rate_without_a_point_is_a_number():
    """Version 0.1.0 wrote checkpoints with this description and could not read them."""
    layers = [{"kind": "Neuron", "name": "n", "dropout": 0, "index": 1}, {"kind": "Flatten"}]
    layers.append({"kind": "Readout", "name": "r", "features": 4})
    given = dict(name="mine", image_shape=[4, 4, 1], classes=4, mean=[0], std=[1], steps=2)
    assert rebuild({**given, "layers": layers}).layers[0] == Neuron("n", 0.0, 1)


def test_neurons_with_dropout_get_masks_of_their_own():
    """An index that no other neuron has is kept, so that the masks of earlier versions are, too."""
    inner = Branches("s", (Neuron("b", 0.5), Neuron("c", 0.5, 1)), ())
    layers = [Neuron("a", 0.5), inner, Residual("d", 3, 1, 0.5, 1), Neuron("e"), Neuron("f", 0.5, 7)]
    model = assemble("mine", [*layers, Flatten(), Readout("r", 4)], (6, 6, 3), 4, mean=(0,) * 3, std=(1,) * 3)
    found = {layer.name: layer.index for layer, _ in model.walk() if isinstance(layer, Neuron) and layer.dropout}
    assert found == {"a": 0, "b": 8, "c": 1, "d.neuron1": 9, "f": 7}
    assert rebuild(model.describe()) == model
    k, images, seen = get_backend("reference"), np.ones((1, 8, 8, 1), np.float32), {}
    layers = [Neuron("a", 0.5), Neuron("b", 0.5), Flatten(), Readout("r", 4)]
    small = assemble("small", layers, (8, 8, 1), 4, mean=(0,), std=(1,))
    network = Network(small, k, initialise(small, k, seed=0))
    ctx = ForwardContext(Tape(k), network._weights(), False, 1, dropout=Draws(1, 0))
    for layer in small.layers[:2]:
        seen[layer.name] = k.to_numpy(layer(ctx, Variable(k.asarray(images[None]))).value) > 0
    assert (seen["a"] != seen["b"]).any()


@pytest.mark.parametrize("name", ["reference", "numba"])
def test_a_residual_block_may_be_the_first_layer_of_a_directly_coded_network(name):
    """Its identity shortcut has one time step, its main branch has T. Its numbers are those of the layers written out."""
    k, end = get_backend(name, threads=1), [Flatten(), Readout("r", 4)]
    main = (Conv2d("b.conv1", 3), Neuron("b.neuron1", 0.5, 1), Conv2d("b.conv2", 3))
    images, logits = k.asarray(np.random.default_rng(0).random((2, 8, 8, 3), np.float32)), []
    for layers in ([Residual("b", 3, 1, 0.5, 1)], [Branches("b", main, ()), Neuron("b.neuron2")]):
        model = assemble("mine", [*layers, *end], (8, 8, 3), 4, mean=(0.5,) * 3, std=(0.25,) * 3)
        network = Network(model, k, initialise(model, k, seed=0, spiking=True), spiking=True, steps=4)
        found = network.gradients(images, k.asarray(np.array([0, 1])), image=True)
        logits.append([k.to_numpy(found.logits), k.to_numpy(found.image), list(network.parameters)])
    assert logits[0][0].tolist() == logits[1][0].tolist() and logits[0][1].tolist() == logits[1][1].tolist()
    assert logits[0][0].any() and logits[0][2] == logits[1][2]


@dataclass(frozen=True)
class Twice(Linear):
    """A layer that is not of minihire.layers."""


class Variant(Neuron):
    """A neuron that is not of minihire.layers."""


@pytest.mark.parametrize(
    "first", [[Flatten(), Twice("l", 4)], [Branches("s", (Conv2d("c", 3), Variant("n")), ()), Flatten()]], ids=len
)
def test_layers_that_no_checkpoint_can_contain_are_refused_before_a_training(tmp_path, first):
    """Such a checkpoint could not be loaded."""
    k, path = get_backend("reference"), tmp_path / "x.npz"
    images = load_data("shapes", train_limit=8, test_limit=2).train
    model = assemble("mine", [*first, Readout("r", 10)], images.shape, 10, mean=(0,) * 3, std=(1,) * 3)
    network, says = (
        Network(model, k, initialise(model, k, seed=0)),
        "^a checkpoint cannot contain the layer (Twice|Variant)",
    )
    with pytest.raises(MinihireError, match=says):
        save_checkpoint(path, network)
    with pytest.raises(MinihireError, match=says):
        train(network, Recipe(epochs=1), images, path=path)
    assert not path.exists()
    train(network, Recipe(epochs=1), images)  # without a checkpoint
