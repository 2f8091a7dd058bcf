"""A scale so small that every experiment runs in seconds."""

import json

from minihire.app import paper as command
from minihire.study.paper.scales import Scale
from minihire.study.settings import preset

TINY = Scale(
    "tiny",
    (
        preset(
            "mini",
            **dict(train_limit=40, test_limit=30, heldout=0, width=0.125, hidden=32, steps=2, periods=2, iterations=3),
            **dict(
                ann_epochs=2, ann_batch_size=8, snn_epochs=1, batch_size=8, calibration_images=8, calibration_steps=4
            ),
        ),
    ),
    rate=dict(coding="rate", steps=3, time_chunk=2, snn_epochs=1, calibration_images=32, calibration_steps=30),
    noise_steps=(0.01, 0.02),
    time_steps=(2, 3),
    bounds=(4 / 255, 32 / 255),
    iterations=(1, 2, 4),
    sweep_images=12,
    rate_images=12,
    suite_images=4,
    batches=2,
    choices=dict(heldout=20),
)


def edit_note(path, **changes):
    """Change entries of a file of the cache. Without a checksum it is as earlier versions wrote it."""
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    content.pop("checksum", None)
    path.write_text(json.dumps(content), encoding="utf-8")


# those that the fixture `made` runs; test_robustness.py has the others, with fewer attacks
NAMES = [name for name in command.EXPERIMENTS if name not in ("robustness", "recipes")]
