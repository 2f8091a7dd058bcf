"""minihire attack --suite: run a suite of attacks, and show the worst case and the red flags."""

from backends.surrogates import triangle
from minihire.app.flags import given_settings
from minihire.app.inputs import refuse_samples
from minihire.app.outputs import show_and_write
from minihire.attacks import Robustness
from minihire.attacks.suite_state import forget
from minihire.layers import AvgPool, Conv2d, Flatten, Linear, Neuron, Readout
from minihire.report import tables
from minihire.report.suite_page import verdict
from minihire.runtime.checksum import checksum
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import resumable_by
from minihire.runtime.progress import duration
from minihire.study.single import robustness_of

# If a network has only these layers, and no gradient flows through the reset, every path from the input to the logits passes the
# same number of neurons. Then the height γ of the surrogate is a constant factor of the input gradient.
ONE_PATH = {Conv2d, Linear, Neuron, AvgPool, Flatten, Readout}


def refuse_without_effect(options, original, target, sources):
    """Raise MinihireError for a flag that changes no attack of the suite on this network."""
    refuse_samples(options, target, *(network for _, network in sources))
    refuse_constant_gamma(options, original, target, "the attacks of --suite")


def refuse_constant_gamma(options, original, target, attacks):
    """Raise MinihireError for --gamma if it only multiplies the input gradient by a constant. attacks: these attacks, in words.

    Every attack uses the sign or the direction of the input gradient, never its length.
    """
    one_path = {*map(type, target.model.layers)} <= ONE_PATH and not target.neuron.reset_grad
    triangular = original.neuron.surrogate._replace(height=1.0) == triangle(1.0)
    if "gamma" in given_settings(options) and one_path and triangular:
        raise MinihireError(
            f"--gamma multiplies the input gradients of {options.checkpoint} by a constant, which changes "
            f"nothing in {attacks}: leave it out"
        )


def evaluate(options, config, target, sources, attacks, data, json_file, warnings) -> None:
    """Run the suite, print its tables and write the JSON file. A stopped suite resumes if there is a JSON file.

    attacks: those of --attacks, which run after the suite's own. warnings: sentences about the test images.
    """
    budget, samples = options.budget or "small", options.samples or 1
    how_to_resume, interim = ("the same command", f"{json_file.stem}.suite") if json_file else (None, "")
    with resumable_by(how_to_resume, interim):
        found, folder = robustness_of(config, options.suite, budget, target, sources, data, samples, attacks, json_file)
    content = {"checkpoint": str(options.checkpoint), "config": config.describe(), "robustness": found.as_dict()}
    content["warnings"] = warnings
    content["checksum"] = checksum({"command": options.name, **content})
    suite = f"{options.suite}, budget {budget}" if options.suite == "strong" else options.suite
    show_and_write(
        options,
        content,
        f"{options.checkpoint}; suite {suite}; ε = {config.epsilon * 255:.4g}/255\n{_text(found)}",
    )
    if folder and target.backend.services.rank == 0:
        forget(folder)  # the result is written, so the state is not needed


def _text(found: Robustness) -> str:
    """The tables and sentences about a result."""
    content = found.as_dict()
    columns = ["attacked", "withstood", "gradients", "queries"]
    rows = [[row["name"], *(f"{row[column]:,}" for column in columns)] for row in found.stages]
    scores = [
        [title, str(content[key]["count"]), tables.interval(content[key])]
        for title, key in (("clean", "clean"), ("worst case", "robust"))
    ]
    parts = [
        tables.table(["attack", "attacked", "withstand", "gradients", "queries"], rows),
        tables.table(["images", "number", "accuracy, %"], scores),
        f"{content['gradients']:,} gradient evaluations, {content['queries']:,} queries, {duration(found.seconds)}",
    ]
    if found.suite == "parity":
        parts.append(
            "These are the attacks of the paper: --suite strong tells whether the network withstands strong ones."
        )
        return "\n\n".join(parts)
    if found.transfer:
        parts.append(f"transfer from {', '.join(found.transfer)}")
    else:
        missing = "transfer not run: give --source"
        parts.append(missing if found.transfer_needed else "transfer not needed: no image was left")
    longest = max((len(flag["text"]) for flag in found.flags), default=0)  # so that the texts begin at the same place
    flags = [[flag["name"], "up" if flag["up"] else "–", flag["text"].ljust(longest)] for flag in found.flags]
    parts.append(tables.table(["red flag", "", ""], flags))
    if found.curves:
        parts += [_curve("steps", found.curves["steps"]), _curve("ε·255", found.curves["epsilon"])]
    parts.append(verdict(content))
    return "\n\n".join(parts)


def _curve(title, rows):
    """The table of one curve."""
    first = [str(row["steps"]) if "steps" in row else f"{row['epsilon'] * 255:.4g}" for row in rows]
    return tables.table([title, "accuracy, %"], [[x, tables.interval(row)] for x, row in zip(first, rows, strict=True)])
