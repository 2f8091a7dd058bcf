"""The model card of a packed network: what it is, how it was trained, what was measured, and what it is not for.

The sections are those of Mitchell et al., "Model Cards for Model Reporting" (2019), as far as they apply.
"""

import re
import shlex
from typing import Any

from minihire.network import Network
from minihire.report.tables import interval
from minihire.runtime.terminal import escaped
from minihire.study.titles import DATA_TITLES, column_title, model_name

NOISE = {  # of the training, by the class of the rule in a checkpoint
    "NoNoise": "without noise",
    "CraftedNoise": "with HIRE's crafted noise (ε_s = {step:g}, ε_t = {bound:g})",
    "GaussianNoise": "with Gaussian noise (standard deviation {std:g})",
    "Adversarial": "by adversarial training",
}
UNKNOWN = "The checkpoint does not record how it was trained."
LIMITS = "This network was trained to show a method. {robustness} Do not use it where a wrong answer does harm."
MEASURED = (
    "Its accuracy under attack holds for the attacks in the table and no others. Stronger attacks leave less: see "
    "docs/robustness.md of minihire."
)


def card(
    file: str,
    network: Network,
    classes: tuple[str, ...],
    *,
    meta: dict[str, Any],
    data: str,
    scores: list[dict[str, Any]],
    changed: int,
    results: Any,
    name: str | None,
) -> str:
    """The card in Markdown.

    file: name of the packed checkpoint. meta: the metadata of the checkpoint before it was packed. data: name of the test images'
    data set. scores: clean accuracy before and after the weights were rounded. changed: number of test images whose prediction
    this changed. results: the `Results` of the run that trained the network, where it is called `name`; None if there are none.
    Names in the checkpoint are escaped: they may contain line breaks, HTML and whatever has a meaning in Markdown.
    """
    model, title = network.model, DATA_TITLES.get(data, _plain(data))
    weights = sum(row.weights for row in model.table())
    kind = f"a spiking network of T = {network.steps} time steps" if network.spiking else "an ANN"
    size = "" if model.width == 1 else f", width {model.width:g}"
    height, width, channels = model.image_shape
    before, after = scores
    attacked = _attacked(results, name)
    lines = [
        f"# {_plain(model_name(model.name))} for {title}",
        "",
        f"{_code(file)} is {kind}{size}, with {weights:,} weights in 16 bits. It classifies images of {width}×{height} pixels "
        f"and {channels} channel{'s' * (channels > 1)} into {len(classes)} classes: {', '.join(map(_code, classes))}.",
        "",
        "## Use",
        "",
        f"With minihire {_plain(meta.get('minihire'))} or later:",
        "",
        "```bash",
        "sha256sum --check SHA256SUMS",
        f"minihire predict {shlex.quote(escaped(file))} photo.jpg",
        "```",
        "",
        "## Training",
        "",
        _training(meta),
        "",
        "## Accuracy",
        "",
        f"In %, with 95 % Wilson intervals, on test images of {title}.{_settings(results)}",
        "",
        "| | test images | clean or attack | accuracy |",
        "|---|---|---|---|",
        f"| this file | {after['count']:,} | clean | {interval(after)} |",
        f"| before rounding | {before['count']:,} | clean | {interval(before)} |",
        *attacked,
        "",
        f"The weights were rounded to 16 bits for this file. This changed the prediction of {changed:,} of "
        f"{after['count']:,} test images.",
        "",
        "## Limits",
        "",
        LIMITS.format(robustness=MEASURED if attacked else "Its accuracy under attack was not measured."),
        "",
        "## Licence",
        "",
        "See the file LICENSE.",
        "",
    ]
    return "\n".join(lines)


def _code(text):
    """The text as a code span of Markdown, in which only backticks have a meaning. Control characters are escaped."""
    text = escaped(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if not text or text[0] in " `" or text[-1] in " `" else ""  # one on each side is not shown
    return f"{fence}{space}{text}{space}{fence}"


def _plain(value):
    """The value as text of Markdown, with a backslash before each character that has a meaning there or in HTML."""
    return re.sub(r"[\\`*_\[\]<>&|~$]", r"\\\g<0>", escaped(str(value)))


def _training(meta):
    """How the network was trained, in a few sentences, from the metadata of its checkpoint."""
    try:
        return _training_in_words(meta)
    except (LookupError, TypeError, ValueError, AttributeError):  # the metadata of another program
        return UNKNOWN


def _training_in_words(meta):
    training, about = meta.get("training") or {}, meta.get("about") or {}
    recipe = training.get("recipe") or {}
    if not recipe:
        return UNKNOWN
    noise, periods = recipe["noise"], recipe.get("periods", 1)
    rule = NOISE.get(noise["rule"])
    parts = [rule.format(**noise) if rule else _plain(noise["rule"])]
    parts += [f"in N = {periods} periods per batch"] if periods > 1 else []
    position = training.get("position") or {}
    words = (
        f"It was trained {' '.join(parts)} for {recipe['epochs']:d} epochs on {position.get('images', 0):,d} images, with "
        f"batches of {recipe['batch_size']:d}, {_plain(recipe['optimiser'])} and a learning rate of "
        f"{recipe['learning_rate']:g}; seed {_plain(position.get('seed'))}."
    )
    if meta["network"]["spiking"] and about.get("ann_epochs"):
        words += f" Before this, an ANN was trained for {about['ann_epochs']:d} epochs and converted into the spiking network."
    return words


def _settings(results):
    """A sentence about the attacks of the run."""
    if results is None:
        return ""
    config = results["config"]
    try:
        attacks = (
            f"ε = {255 * config['epsilon']:.4g}/255; PGD with {config['iterations']:d} steps of α = {config['alpha']:g}"
        )
    except (LookupError, TypeError, ValueError):  # the run of another program
        attacks = "the run does not record their settings"
    return (
        f" Attacks: {attacks}. In the table, wb is white box, and bb is black box: the images were crafted on a network of "
        "another seed."
    )


def _attacked(results, name):
    """Rows of the table: the accuracies under attack that the run measured."""
    rows = [] if results is None else [row for row in results["accuracy"] if row["model"] == name]
    return [
        f"| before rounding | {row['count']:,} | {_plain(column_title(row['access'], row['attack']))} | {interval(row)} |"
        for row in rows
        if row["attack"] != "none"
    ]
