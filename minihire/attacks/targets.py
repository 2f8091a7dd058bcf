"""Classes for losses of logits: how many a loss needs, and the target classes of targeted losses."""

from typing import Any

import numpy as np

from backends.interface import Array, Backend
from minihire.network import Network
from minihire.runtime.errors import MinihireError

NEEDED = {"dlr": 3, "dlr-targeted": 4}  # classes, by loss; others need 2


def refuse_few_classes(network: Network, loss: str) -> None:
    """Raise MinihireError if the network has fewer classes than the loss needs."""
    classes, needed = network.model.classes, NEEDED.get(loss, 2)
    if classes < needed:
        raise MinihireError(
            f"the loss {loss} needs at least {needed} classes, and this network has {classes}: "
            "use cross-entropy, as the attack apgd does"
        )


def target_classes(k: Backend, logits: Array, count: int) -> list[Any]:
    """Return the class of the second largest logit of each image, int64 [B], then of the third largest, …: at most `count`."""
    order = np.argsort(-k.to_numpy(logits), axis=1, kind="stable")
    return [k.asarray(order[:, i].copy()) for i in range(1, min(count + 1, order.shape[1]))]
