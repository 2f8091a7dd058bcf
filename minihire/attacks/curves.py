"""Accuracy against the number of steps, and against ε until no image withstands, with Auto-PGD through the strongest member.

If attacks converge, more steps hardly change the accuracy. If ε is large enough, a sound attack fools the network on every image.
"""

from typing import Any

import numpy as np

from minihire.attacks.apgd import apgd
from minihire.attacks.gradient import Attack
from minihire.attacks.probes import Probes, strongest

STEPS = (1, 2, 5, 10, 20, 50, 100, 300, 1000)
STEPS_PER_SIZE = 100
# Values of ε, from a quarter of a grey level to 128 of the 255 levels. Each is twice the one before.
SIZES = tuple(2.0**power / 255 for power in range(-2, 8))


def sizes(epsilon: float) -> list[float]:
    """The values of ε of the curve: SIZES, the given ε and 1, in order.

    >>> from minihire.attacks.curves import sizes
    >>> [round(255 * size, 2) for size in sizes(0.3)]
    [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 76.5, 128.0, 255.0]
    """
    return sorted({*SIZES, epsilon, 1.0} - {0.0})


def curve_attacks(epsilon: float) -> list[Attack]:
    """All attacks of the curves, if the accuracy falls to 0 % only at ε = 1."""
    return [apgd(epsilon, steps) for steps in STEPS] + [apgd(size, STEPS_PER_SIZE) for size in sizes(epsilon)]


def curves(probes: Probes, clean: np.ndarray, epsilon: float) -> dict[str, Any]:
    """The two curves, as the entry "curves" of a result. clean: bool [N], whether each clean image is classified correctly."""
    member, source = strongest(probes.network)

    def score(steps: int, size: float):
        name = f"apgd-{steps} strongest" if size == epsilon else f"apgd-{steps} at {size:.6f}"
        name = f"apgd-{steps} unbounded" if size == 1 else name
        flag = f"flag: {name}"  # a red flag may have run the same attack
        label = flag if flag in probes.state.answers else f"curve: {name}"
        return probes.score(label, source, apgd(size, steps)).as_dict()

    by_steps = [{"steps": steps, **score(steps, epsilon)} for steps in STEPS]
    by_size = [{"epsilon": 0.0, **probes.first(clean).as_dict()}]
    for size in sizes(epsilon):
        by_size.append({"epsilon": size, **score(STEPS_PER_SIZE, size)})
        if by_size[-1]["correct"] == 0:
            break
    return {"attack": "apgd", "member": member, "steps": by_steps, "epsilon": by_size}
