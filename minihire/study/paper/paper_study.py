"""The study behind `minihire paper`: networks of several seeds at one scale, in a cache that later calls load from."""

import math
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np

from backends.interface import Backend
from backends.randomness import Draw, Draws
from minihire.analysis.accuracy import BATCH, predict
from minihire.data.batches import Batches
from minihire.data.dataset import Splits
from minihire.runtime.random_streams import Stream
from minihire.study.cache_folder import CacheFolder
from minihire.study.networks import load_data
from minihire.study.paper.scales import Scale
from minihire.study.settings import Config
from minihire.study.spec import NetworkSpec
from minihire.study.study import Study, pack_answers, unpack_answers

NETWORKS_IN_MEMORY = 4


class PaperStudy(Study):
    """A study at a scale, in OUT/cache. seeds: the first K whole numbers.

    Finished networks and measurements are kept; interrupted training and attacks resume.
    """

    def __init__(
        self, scale: Scale, backend: Backend, out: Path, seeds: int = 1, download: bool = False, writes: bool = True
    ):
        super().__init__(backend, CacheFolder(Path(out) / "cache", backend, writes), in_memory=NETWORKS_IN_MEMORY)
        self.scale, self.out, self.seeds, self.download = scale, Path(out), range(seeds), download
        self._splits: dict[tuple, Splits] = {}

    def splits(self, config: Config, download: bool | None = None) -> Splits:
        """The images of a configuration, read once. Raises MinihireError where the cache was made from others."""
        settings = {f.name: getattr(config, f.name) for f in fields(Config) if f.metadata.get("group") == "data"}
        key = tuple(settings.values())
        if key not in self._splits:
            found = load_data(config, self.download if download is None else download)
            self.store.refuse_other_images(config, settings, found)
            self._splits[key] = found
        return self._splits[key]

    def answers_to_noise(self, spec: NetworkSpec, epsilon: float, images: int, draws: int = 10) -> np.ndarray:
        """For each of the first test images, whether the answer is right under all of `draws` uniform perturbations: bool [N].

        epsilon: the largest change of a pixel, in [0, 1].
        """
        test = self.splits(spec.config).test
        test = test.limit(min(images, len(test)))
        key = {"noise": epsilon, "draws": draws, "answers": spec.describe(), "images": len(test)}

        def compute():
            k, network, right = self.backend, self.network(spec), np.ones(len(test), bool)
            for number, (batch, labels) in enumerate(Batches(test, k, BATCH)):
                for step in range(draws):
                    first = number * BATCH * math.prod(test.shape)
                    noise = k.random(Draw(spec.seed, Stream.NOISE, step), batch.shape, first)
                    shift = (-epsilon,) * test.shape[2]
                    noise = k.scale_shift(noise, (2 * epsilon,) * test.shape[2], shift)
                    noisy = k.clip(k.add(batch, noise), 0.0, 1.0)[0]
                    answers = predict(network, noisy, Draws(spec.seed, 0, number * BATCH))
                    right[number * BATCH : number * BATCH + len(answers)] &= answers == k.to_numpy(labels)
            return pack_answers(right)

        return self.measure_once(key, compute, spec, read=partial(unpack_answers, count=len(test)))

    def each(self, measure, parts) -> list:
        """[measure(study, part), …]. Experiments ask for several measurements here, so that a dry run can list all of them."""
        return [measure(self, part) for part in parts]

    def each_of(self, measure, groups: dict) -> dict:
        """`each` of several lists of parts, under the same keys."""
        found = iter(self.each(measure, [part for parts in groups.values() for part in parts]))
        return {key: [next(found) for _ in parts] for key, parts in groups.items()}

    def other(self, spec: NetworkSpec) -> NetworkSpec:
        """The same network with the next seed, on which black-box images are crafted."""
        count = len(self.seeds)
        return spec._replace(seed=(spec.seed + 1) % count if count > 1 else spec.seed + 1)
