"""ANN → SNN by threshold balancing (Sengupta et al. 2019; hybrid training of Rathi and Roy, DIET-SNN).

The layers get their thresholds one after the other, from the first to the last. While the input current of a layer is measured,
all earlier layers already spike with their thresholds. At each time step of the calibration, take the 99.7th percentile (nearest
rank) of the layer's input current. The layer's threshold is the maximum over the time steps. At the end, all thresholds are
multiplied by the scaling factor; every leak is 1.

Memory stays bounded: images and time steps are processed in chunks, and only the largest 0.3 % of each step's currents are kept,
which is all that the percentile needs.

This suits networks without biases. normalise.py converts the others. In a residual block, the threshold of neuron1 divides the
main branch but not the shortcut, so their sum is not the ANN's; the training that follows adapts to it. Multiplying the weights
of conv2 by that threshold is no better with low thresholds: a quarter-width ResNet12 (ANN: 50.1 % of 1,000 images of CIFAR-10)
has 31.7 % with it and 38.0 % without it (T = 10, scaling factor 0.3), and with the scaling factor 1 47.5 and 41.8 % (T = 40).
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from backends.errors import choose
from backends.interface import Array
from backends.randomness import Draws
from minihire.data.batches import Batches
from minihire.data.dataset import Dataset
from minihire.engine.lif import NeuronOptions
from minihire.models import Model
from minihire.network import Network
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import StopSignal
from minihire.runtime.progress import Progress
from minihire.training.calibration import Calibration, LargestValues, calibration_batches, keep_for
from minihire.training.normalise import INITIAL, has_biases, measure_scales, normalised

STEPS_AT_ONCE = 10
OPTIONS = ("coding", "readout", "neuron", "time_chunk")  # further arguments of `convert`: fields of the SNN


def convert(
    ann: Network, data: Dataset, *, steps: int, calibration: Calibration = Calibration(), seed: int = 0, **options: Any
) -> Network:
    """An SNN of `steps` time steps with a copy of the ANN's weights and balanced thresholds.

    A network with biases, such as one from `minihire.interop.from_torch`, gets scaled weights instead, and thresholds of 1; see
    minihire/training/normalise.py.
    data: training images; the seed selects `calibration.images` of them. options: coding, readout, neuron and time_chunk of the
    SNN. Raises MinihireError for another type of data, an SNN or an unknown option, if a layer receives no positive current, if
    coding is "rate" and the network normalises its images, and for a network with biases if readout is "spikes", or where it has
    no weights to scale, as in an identity shortcut (the message says which layer to add).

    >>> from minihire import Calibration, Network, build, convert, get_backend, initialise, load_data
    >>> k, images = get_backend("reference"), load_data("shapes", train_limit=32, test_limit=10)
    >>> model = build("vgg5", width=1 / 16, hidden=16)
    >>> ann = Network(model, k, initialise(model, k, seed=0))
    >>> snn = convert(ann, images.train, steps=4, calibration=Calibration(images=8, steps=4))
    >>> snn.spiking, sorted(set(snn.parameters) - set(ann.parameters))[:2]
    (True, ['neuron1.leak', 'neuron1.threshold'])
    """
    _check(ann, data, calibration, options)
    k = ann.backend
    if has_biases(ann):
        return _convert_with_biases(ann, data, steps, calibration, seed, options)
    snn = replace(
        ann,
        parameters=_with_neurons(ann.model, ann.parameters, options.get("readout", "membrane")),
        spiking=True,
        steps=steps,
        **options,
    )
    batches = calibration_batches(data, k, calibration, seed)
    # a view shares the parameters: a threshold that is set in `snn` is used for the layers after it
    calibrated, thresholds = snn.view(time_chunk=min(STEPS_AT_ONCE, calibration.steps)), {}
    names = [name.removesuffix(".threshold") for name in snn.parameters if name.endswith(".threshold")]
    with StopSignal(k) as stop, Progress("conversion", len(names) * len(batches.dataset)) as progress:
        for name in names:
            threshold = _balanced_threshold(calibrated, name, batches, calibration, seed, stop, progress)
            if not threshold > 0:
                if calibration.fallback_threshold is None:
                    raise MinihireError(
                        f"{name} receives no positive current from the converted layers before it: "
                        "train the ANN for longer before converting"
                    )
                threshold = calibration.fallback_threshold
            snn.parameters[f"{name}.threshold"] = k.asarray([threshold])
            thresholds[name] = threshold
    for name, threshold in thresholds.items():
        snn.parameters[f"{name}.threshold"] = k.asarray([threshold * calibration.scaling])
    return snn


def _check(ann: Network, data: Dataset, calibration: Calibration, options: dict[str, Any]) -> None:
    """Raise MinihireError for arguments of `convert` that are wrong or do not fit together."""
    if not isinstance(ann, Network):
        raise MinihireError(
            f"convert needs a Network, not {type(ann).__name__}: from_torch makes one of a torch module"
        )
    if not isinstance(data, Dataset):
        advice = "its part .train" if hasattr(data, "train") else "Dataset(name, images, labels, classes, mean, std)"
        kind = "an array" if hasattr(data, "dtype") else type(data).__name__
        raise MinihireError(f"convert needs a Dataset, not {kind}: give {advice}")
    if ann.spiking:
        raise MinihireError("this network is an SNN already: give an ANN to convert")
    unknown = sorted(options.keys() - OPTIONS)
    if unknown:
        advice = choose(unknown[0], OPTIONS)
        if unknown[0] in NeuronOptions.__dataclass_fields__:
            advice = f"give neuron=NeuronOptions({unknown[0]}=…), of minihire.engine.lif"
        raise MinihireError(f"convert has no option {unknown[0]!r}: {advice}")
    NeuronOptions.require(options.get("neuron", ann.neuron))
    if not isinstance(calibration, Calibration):
        raise MinihireError(f"the calibration is {calibration!r}: give a Calibration, as in Calibration(images=512)")
    model = ann.model
    if options.get("coding", ann.coding) == "rate" and (any(model.mean) or set(model.std) != {1.0}):
        raise MinihireError(
            f"{model.name} normalises its images, but rate coding does not: convert it with direct coding, or train one "
            "with mean 0 and std 1 (`minihire train ann --coding rate` does)"
        )


def _convert_with_biases(
    ann: Network, data: Dataset, steps: int, calibration: Calibration, seed: int, options: dict[str, Any]
) -> Network:
    """The SNN of an ANN with biases; see normalise.py."""
    if options.get("readout", "membrane") != "membrane":
        raise MinihireError("a network with biases can be converted only with the readout membrane")
    scales = measure_scales(ann, calibration_batches(data, ann.backend, calibration, seed), calibration.percentile)
    parameters = _with_neurons(ann.model, normalised(ann, scales))
    options["neuron"] = replace(options.get("neuron", ann.neuron), initial=INITIAL)
    return replace(ann, parameters=parameters, spiking=True, steps=steps, **options)


def _with_neurons(model: Model, weights: dict[str, Array], readout: str = "membrane") -> dict[str, Array]:
    """Return the parameters for an SNN: these weights, and new thresholds and leaks, all 1. `Network` copies them."""
    specification = model.parameters(True, readout)
    return {name: weights.get(name, np.full(p.shape, p.start)) for name, p in specification.items()}


def _balanced_threshold(
    network: Network,
    layer: str,
    batches: Batches,
    calibration: Calibration,
    seed: int,
    stop: StopSignal,
    progress: Progress,
) -> float:
    """The percentile of a layer's input current at each time step; the largest of them."""
    k = network.backend
    sizes = {getattr(each, "name", ""): math.prod(each.output_shape(shape)) for each, shape in network.model.walk()}
    largest = LargestValues(calibration.steps, keep_for(sizes[layer] * len(batches.dataset), calibration.percentile))
    for number, (images, _) in enumerate(batches):
        kept = "earlier work was kept" if stop.again else "its results were discarded, so start it again"
        stop.check(f"during the conversion; {kept}")
        steps, draws = count(), Draws(seed, 0, number * batches.size)

        def observe(event: str, name: str, array: Array, steps: Iterator[int] = steps) -> None:
            if (event, name) == ("current", layer):
                for row in range(array.shape[0]):
                    largest.add(next(steps), k.top_k(k.rows(array, row, row + 1), largest.keep))

        network.forward(images, steps=calibration.steps, draws=draws, observe=observe, until=layer)
        progress.add(images.shape[0], layer)
    return largest.smallest_kept()
