"""Attacks as CUDA graphs replay them: arguments in fixed tensors, and results that the next replay overwrites. On a CPU."""

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draws
from minihire.attacks import apgd, momentum_pgd, pgd, sa_pgd, square

ATTACKS = [pgd(restarts=2), momentum_pgd(), apgd(0.02, 30), apgd(0.02, 12, loss="dlr-targeted"), sa_pgd(0.02, 30)]


@pytest.mark.parametrize("attack", [*ATTACKS, square(0.05, 12)], ids=lambda a: a.name)
def test_replayed_attacks_find_the_same_images(network, data, images, monkeypatch, attack):
    pytest.importorskip("torch")
    import torch
    from torch.utils import _pytree as trees

    from backends.torch_any import graphs

    def record(self):
        """As a graph, but the kernels run anew: results lie in tensors of their own, or in those of the arguments."""
        kept = []

        def replay():
            leaves, form = trees.tree_flatten(self.function())
            if not kept:
                kept.extend(a if any(a is p for p in self.places) else a.clone() for a in leaves)
            for old, new in zip(kept, leaves, strict=True):
                old.copy_(new)
            self.results = trees.tree_unflatten(kept, form)

        self.replay = replay

    monkeypatch.setattr(graphs.Recording, "record_graph", record)
    k, found = get_backend("torch", threads=1, dtype="float64"), []
    net, x, y = network(k), k.asarray(images), k.asarray(data.labels)
    for captured in (False, True):
        if captured:
            capture = lambda function: graphs.Captured(function, "cpu", print, k.versions)
            monkeypatch.setattr(k.services, "captured", capture)
        attacker = attack.attacker(net)
        for batch in range(2):
            found.append(k.to_numpy(attacker(x, y, Draws(batch))))
    np.testing.assert_array_equal(found[:2], found[2:])
    assert torch.is_tensor(x) and not np.array_equal(found[0], images)
