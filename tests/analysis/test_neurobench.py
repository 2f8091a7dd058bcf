"""NeuroBench's metrics: by hand, by a direct count of products, and against the package neurobench itself."""

import numpy as np
import pytest

from backends import get_backend
from minihire.analysis import measure_activity, measure_energy, measure_neurobench
from minihire.engine.lif import NeuronOptions
from minihire.interop.layouts import weight_layouts
from minihire.runtime.errors import MinihireError

STEPS = 5


def test_a_network_by_hand(toy):
    # Pixels 1 and 0.5 with v = λ = 1. The neurons fire where the membrane exceeds 1:
    # pixel 1:    m = 1, 2 (fires), 2 (fires), 2 (fires)    u = 1, 1, 1, 1
    # pixel 0.5:  m = 0.5, 1, 1.5 (fires), 1                u = 0.5, 1, 0.5, 1
    network = toy()
    image = np.array([1.0, 0.5, 0.0, 0.0]).reshape(1, 2, 2, 1)
    found = measure_neurobench(network, [image])
    conv, readout = found.layers
    assert (conv.effective_macs, conv.effective_acs, conv.dense, conv.dense_call) == (2, 0, 4, 4)  # 0.5 is not binary
    assert (readout.effective_macs, readout.effective_acs) == (0, 3 * 4)  # four spikes reach three classes
    assert (readout.dense, readout.dense_call) == (4 * 12, 12)
    assert found.activation_sparsity == 12 / 16
    # the first step counts all four neurons; afterwards only the membrane of pixel 0.5 changes
    assert found.membrane_updates == 4 + 3
    assert found.footprint == 8 * (1 + 12 + 2) and found.connection_sparsity == 0
    assert found.energy("fp32") == pytest.approx(2 * 4.6 + 12 * 0.9)
    assert found.ratio("fp32") == pytest.approx(16 * 4.6 / (2 * 4.6 + 12 * 0.9))
    energy = measure_energy(network, measure_activity(network, [image]))  # 4 MACs, for it counts zeros, and 12 ACs
    entry = found.as_dict(energy)
    assert entry["effective_acs"] == 12 and entry["fp32"]["paper_pj"] == energy.total("fp32") == pytest.approx(29.2)


def test_an_input_that_is_not_binary_makes_the_whole_call_macs(toy):
    network = toy(pool=True)
    three, four = (np.array(pixels).reshape(1, 2, 2, 1) for pixels in ([2.0, 2.0, 2.0, 0.0], [2.0, 2.0, 2.0, 2.0]))
    alone = measure_neurobench(network, [four / 2 * 0.75]).layers[
        1
    ]  # four spikes or none, of which the pool makes 1 or 0
    assert alone.effective_macs == 0 and alone.effective_acs > 0
    mixed = measure_neurobench(network, [np.concatenate([three, four]) / 2 * 0.75]).layers[1]
    assert mixed.effective_acs == 0 and mixed.effective_macs > 0  # the 0.75 of one image counts for the batch
    assert measure_neurobench(network, [three / 2 * 0.75, four / 2 * 0.75]).layers[1].effective_acs > 0


def test_the_paper_s_operations_are_priced_as_macs_after_a_pool(toy):
    network, images = toy(pool=True), [np.array([0.75, 0.75, 0.75, 0.0]).reshape(1, 2, 2, 1)]
    energy, found = measure_energy(network, measure_activity(network, images)), measure_neurobench(network, images)
    # the pool's output is 0.75 at two of four steps; the readout has three classes
    assert energy.total("fp32") == pytest.approx(4 * 4.6 + 6 * 0.9)
    assert found.reprice(energy, "fp32") == pytest.approx(4 * 4.6 + 6 * 4.6)
    assert found.as_dict(energy)["int32"]["paper_ratio"] == pytest.approx(7 / 10)


def test_zero_weights_are_no_operations(toy):
    network = toy()
    network.parameters["readout.weight"][:2] = 0
    found = measure_neurobench(network, [np.full((1, 2, 2, 1), 0.9)])
    assert found.connection_sparsity == 6 / 13
    assert found.layers[1].effective_acs == 6 * 3  # pixels 3 and 4 fire at three of four steps
    assert found.layers[1].dense == 4 * 12


@pytest.mark.parametrize("name", ["vgg5", "resnet12"])
@pytest.mark.parametrize("spiking", [True, False], ids=["snn", "ann"])
def test_operations_equal_a_direct_count(random_network, images, name, spiking):
    """Convolve the places of non-zero inputs with the places of non-zero weights, as neurobench does."""
    network = random_network(name, spiking=spiking)
    for parameter, array in network.parameters.items():
        if parameter.endswith("weight"):
            array[np.abs(array) < np.median(np.abs(array))] = 0
    inputs, k = {}, network.backend
    network.forward(images, observe=lambda event, name, x: event == "input" and inputs.update({name: x}))
    found = measure_neurobench(network, [images])
    layers = {layer.name: layer for layer, _ in network.model.walk() if hasattr(layer, "operations")}
    assert [layer.name for layer in found.layers] == list(layers)
    for measured in found.layers:
        layer, weight = layers[measured.name], network.parameters[f"{measured.name}.weight"]

        def products(x, w, layer=layer):
            out = k.conv2d(x, w, layer.stride, layer.border)[0] if w.ndim == 4 else k.linear(x, w)[0]
            return float(out.sum(dtype=np.float64)) / len(images)

        x = inputs[measured.name]
        binary = (weight != 0).astype(np.float32)
        assert measured.effective_macs + measured.effective_acs == products((x != 0).astype(np.float32), binary)
        assert measured.dense == products(np.ones_like(x), np.ones_like(weight))
        assert measured.dense == measured.dense_call * len(x)
    kinds = {layer.name: layer.effective_macs > 0 for layer in found.layers}
    assert all(kinds.values()) != spiking and kinds["conv1"]


@pytest.mark.parametrize("reset", ["immediate", "delayed"])
def test_time_chunks_backends_and_coding(random_network, images, reset):
    options = {"neuron": NeuronOptions(reset), "readout": "spikes"}
    expected = measure_neurobench(random_network(**options), [images])
    assert measure_neurobench(random_network(time_chunk=2, **options), [images]) == expected
    assert measure_neurobench(random_network(time_chunk=1, **options), [images]) == expected
    numba = get_backend("numba")
    found = measure_neurobench(random_network(backend="numba", **options), [numba.asarray(images)])
    assert found.layers[0] == expected.layers[0] and found.layers[1].dense == expected.layers[1].dense
    rate = measure_neurobench(random_network(coding="rate"), [images])
    assert (
        rate.effective_macs == sum(layer.effective_macs for layer in rate.layers[1:])
        and rate.layers[0].effective_acs > 0
    )


def test_layers_with_analog_inputs_are_called_once(analog, images):
    make, names = analog
    found = measure_neurobench(make(), [images])
    for layer in found.layers:
        assert layer.dense == layer.dense_call * (1 if layer.name in names else STEPS)
    for chunk in (1, 2):
        assert measure_neurobench(make(time_chunk=chunk), [images]) == found


def test_there_must_be_images(random_network):
    with pytest.raises(MinihireError, match="cannot be measured without images"):
        measure_neurobench(random_network(), [])


# ---------------------------------------------------------------- the package neurobench


@pytest.fixture
def theirs():
    """theirs(network): the same layers as torch modules with snnTorch's neurons, which neurobench can observe."""
    torch = pytest.importorskip("torch")
    snntorch = pytest.importorskip("snntorch")
    pytest.importorskip("neurobench.metrics.workload", exc_type=ImportError)
    nn = torch.nn

    class Theirs(nn.Sequential):
        """Returns (output, None) for an SNN, as neurobench's wrapper of snnTorch networks expects."""

        spiking = True

        def forward(self, x):
            output = super().forward(x)
            return (output, None) if self.spiking else output

    def make(network):
        layouts, modules = weight_layouts(network.model), []
        value = lambda name: float(network.parameters[name][0])
        for layer, shape in network.model.walk():
            kind = type(layer).__name__
            if kind == "Conv2d":
                modules.append(nn.Conv2d(shape[2], layer.features, layer.size, padding=layer.border, bias=False))
            elif kind in ("Linear", "Readout"):
                modules.append(nn.Linear(shape[0], layer.features, bias=False))
            elif kind == "Neuron" and network.spiking:
                leak, threshold = value(f"{layer.name}.leak"), value(f"{layer.name}.threshold")
                modules.append(snntorch.Leaky(leak, threshold, init_hidden=True))
            else:
                modules.append({"Neuron": nn.ReLU, "AvgPool": lambda: nn.AvgPool2d(2), "Flatten": nn.Flatten}[kind]())
            if layer.__class__.__name__ in ("Conv2d", "Linear", "Readout"):
                weight = layouts[layer.name].to_theirs(network.parameters[f"{layer.name}.weight"])
                modules[-1].weight.data = torch.from_numpy(weight)
        module = Theirs(*modules)
        module.spiking = network.spiking
        return module

    return make


@pytest.mark.parametrize("spiking", [True, False], ids=["snn", "ann"])
def test_the_metrics_are_those_of_neurobench(theirs, random_network, images, spiking):
    import torch
    from neurobench.metrics import static, workload
    from neurobench.models import SNNTorchModel, TorchModel

    ours = random_network(spiking=spiking, neuron=NeuronOptions("delayed"))  # snnTorch's reset
    for name, array in ours.parameters.items():
        if name.endswith("leak"):
            array[:] = 0.9
        if name.endswith("weight"):
            array[np.abs(array) < np.median(np.abs(array)) / 2] = 0
    found = measure_neurobench(ours, [images])

    mean, std = np.float32(ours.model.mean), np.float32(ours.model.std)
    pixels = torch.from_numpy(((images - mean) / std).transpose(0, 3, 1, 2).copy())
    model = (SNNTorchModel if spiking else TorchModel)(theirs(ours))
    model.register_hooks()
    with torch.no_grad():
        predictions = model(torch.stack([pixels] * STEPS, dim=1) if spiking else pixels)
    measured = (model, predictions, (pixels, None))

    operations = workload.SynapticOperations()(*measured)
    first = found.layers[0]
    more = STEPS - 1 if spiking else 0  # their program calls the first layer at every step
    assert operations["Effective_MACs"] == pytest.approx(found.effective_macs + more * first.effective_macs, rel=1e-6)
    assert operations["Effective_ACs"] == pytest.approx(found.effective_acs, rel=1e-6)
    assert operations["Dense"] == pytest.approx(found.dense + more * first.dense, rel=1e-6)
    assert workload.ActivationSparsity()(*measured) == pytest.approx(found.activation_sparsity, rel=1e-9)
    assert workload.MembraneUpdates()(*measured) == pytest.approx(found.membrane_updates, rel=1e-9)
    assert static.ConnectionSparsity()(model) == round(found.connection_sparsity, 4)
    if not spiking:  # snnTorch's neurons also have buffers
        assert static.Footprint()(model) == found.footprint
    assert (found.effective_acs > 0) == (found.membrane_updates > 0) == spiking
