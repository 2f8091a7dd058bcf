"""Collect the results in --work: a Markdown page, made only from results.json and other JSON files, and copies of these."""

import csv
import json
import shutil
from pathlib import Path

from minihire.report.tables import interval
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically
from minihire.runtime.progress import duration
from minihire.study.results import Results
from minihire.study.settings import METHODS, preset
from minihire.study.titles import TITLES

PAPER = Path(__file__).parent / "paper.csv"
COLUMNS = (
    ("clean", "none"), ("white_box", "fgsm"), ("white_box", "pgd"), ("black_box", "fgsm"), ("black_box", "pgd"),
)  # fmt: skip
HEADER = (
    "| % | clean | FGSM, white box | PGD-7, white box | FGSM, black box | PGD-7, black box |\n|---|---|---|---|---|---|"
)
# Settings that may differ from the preset, because they do not change the experiment.
IGNORED = ("data_dir", "methods", "black_box", "seed")
NAMES = ("ann", "converted", *METHODS)


def collect(work: Path, out: Path) -> list[Path]:
    """Write OUT/PRESET.md and the files it refers to, and return their paths. Raises MinihireError without results."""
    results = Results.load(work / "run" / "results.json")
    name = results["config"]["preset"]
    out.mkdir(parents=True, exist_ok=True)
    notes = {n: read(work / f"{n}.json") for n in ("check", "gpu", "stages") if (work / f"{n}.json").exists()}
    paths = [Path(shutil.copy(work / "run" / "results.json", out / f"{name}-results.json"))]
    if "gpu" in notes:
        paths.append(Path(shutil.copy(work / "gpu.json", out / "gpu.json")))
    machine = json.dumps({n: content for n, content in notes.items() if n != "gpu"}, indent=1)
    paths.append(out / f"{name}-machine.json")
    write_atomically(paths[-1], lambda file: file.write(machine.encode()))
    pictures = sorted((work / "run" / "figures").glob("*.png"))
    paths += [Path(shutil.copy(path, out / f"{name}-{path.name}")) for path in pictures]
    text = page(results, notes, attacks(work), pictures)
    write_atomically(out / f"{name}.md", lambda file: file.write(text.encode()))
    return [out / f"{name}.md", *paths]


def read(path: Path) -> dict:
    """Read a JSON file. Raises MinihireError if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MinihireError(f"cannot read {path}: {error}") from error


def attacks(work: Path) -> list[dict]:
    """Rows in the format of results["accuracy"], from the files that `minihire attack` wrote for the second seed."""
    rows = []
    for path in sorted((work / "attacks").glob("*.json")):
        model, access = path.stem.rsplit("-", 1)
        for attack, score in read(path)["accuracy"].items():
            kind = ("clean", "none") if attack == "clean" else (access, attack)
            if kind[0] != "clean" or access == "white_box":
                rows.append({"model": model, "access": kind[0], "attack": kind[1], **score})
    return rows


def printed(config: dict) -> dict[tuple, str]:
    """The paper's values for this data set and model, as text, by (method, access, attack)."""
    found = {}
    with open(PAPER, newline="") as file:
        for row in csv.DictReader(file):
            if (row["data"], row["model"]) == (config["data"], config["model"]):
                found[row["method"], "clean", "none"] = row["clean"]
                found |= {(row["method"], row["access"], attack): row[attack] for attack in ("fgsm", "pgd")}
    return found


def accuracy(rows: list[dict], paper: dict) -> str:
    """A Markdown table with one line per network, and the paper's values below it, if the paper has any."""
    scores, lines = {(r["model"], r["access"], r["attack"]): r for r in rows}, [HEADER]
    for model in (m for m in NAMES if any(key[0] == m for key in scores)):
        cells = [scores.get((model, *column)) for column in COLUMNS]
        lines.append(f"| {TITLES[model]} | " + " | ".join("–" if c is None else interval(c) for c in cells) + " |")
        values = [paper.get((model, *column)) for column in COLUMNS]
        if any(values):
            lines.append("| *the paper's* | " + " | ".join(f"*{value}*" if value else "–" for value in values) + " |")
    return "\n".join(lines)


def differences(config: dict) -> list[str]:
    """The settings that differ from the preset, as text."""
    own = preset(config["preset"]).describe()
    return [f"{n} = {config[n]}, not {own[n]}" for n in own if n not in IGNORED and config.get(n) != own[n]]


def page(results: Results, notes: dict, second: list[dict], pictures: list[Path]) -> str:
    """The Markdown page. second: rows of `attacks` for the second seed."""
    config, data, name = results["config"], results["data"], results["config"]["preset"]
    device = notes.get("check", notes.get("gpu", {})).get("device", results["machine"]["device"])
    counts = {row["count"] for row in results["accuracy"]}
    changed, paper = differences(config), printed(config)
    parts = [
        f"# {name}: {config['model']}, {data['name']}, on {device}",
        f"{data['train']:,} training images, {config['ann_epochs']} epochs of the ANN and {config['snn_epochs']} of each SNN, "
        f"batch {config['batch_size']}, T = {config['steps']}, N = {config['periods']}, ε_s = {config['noise_step']}; attacks on "
        f"{' and '.join(f'{n:,}' for n in sorted(counts))} test images, ε = {config['epsilon'] * 255:.3g}/255. Brackets "
        "contain 95 % Wilson intervals. They cover the choice of test images, not other seeds. Black box: images crafted on "
        "the same kind of network, trained with the other seed.",
    ]
    if changed:
        parts.append(f"**These are not the paper's settings**: {'; '.join(changed)}.")
    if not results["finished"]:
        parts.append("**The run is not finished**: results that are missing below are not measured yet.")
    parts += [f"Seed {config['seed']}:", accuracy(results["accuracy"], paper)]
    if second:
        parts += [f"Seed {config['seed'] + 1}:", accuracy(second, paper)]
    parts += [times(results), *machine(results, notes)]
    parts += [f"![{path.stem}]({name}-{path.name})" for path in pictures]
    warned = [f"- {sentence}" for sentence in results["warnings"]]
    parts += ["Warnings of the run:\n" + "\n".join(warned)] if warned else []
    return "\n\n".join(parts) + "\n"


def times(results: Results) -> str:
    """A Markdown table of the time and memory of each phase."""
    lines = ["| phase | time | device memory | computed by |\n|---|---|---|---|"]
    for name, phase in results["phases"].items():
        used = phase.get("peak_device_memory_bytes")
        memory = "–" if used is None else f"{used / 2**20:,.0f} MiB"
        lines.append(f"| {name} | {duration(phase['seconds'])} | {memory} | {phase.get('computed_by', '–')} |")
    total = duration(sum(phase["seconds"] for phase in results["phases"].values()))
    return "\n".join([*lines, f"| all | {total} | | |"])


def machine(results: Results, notes: dict) -> list[str]:
    """Paragraphs on the device, the versions and the commands."""
    parts = []
    if "check" in notes:
        versions = ", ".join(f"{package} {v}" for package, v in notes["check"]["machine"]["versions"].items())
        parts.append(f"{notes['check']['device']}; {versions}; minihire {results.content['minihire']}.")
    if "stages" in notes:
        stages = notes["stages"]["stages"]
        spent = "; ".join(
            f"{n} {duration(s['seconds'])} in {s['calls']} calls" for n, s in stages.items() if s["calls"]
        )
        lines = [line for stage in stages.values() for line in stage["commands"]]
        parts += [f"Commands, with their total times: {spent}.", "```bash\n" + "\n".join(lines) + "\n```"]
    return parts
