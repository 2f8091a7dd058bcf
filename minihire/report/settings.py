"""Sections on how a run was made: its settings, the command that repeats it, and the machine."""

import shlex
from dataclasses import fields

from minihire.report.markup import Markup, join, prose, table, tag
from minihire.report.pieces import command_text, details, note
from minihire.study import own_images
from minihire.study.settings import PRESETS, Config

FIELDS = {f.name: f for f in fields(Config) if f.metadata}


def settings(results) -> Markup:
    """A folded table of all settings. Values that differ from the preset are bold."""
    config = results["config"]
    defaults = _preset(config)
    groups = list(dict.fromkeys(f.metadata["group"] for f in FIELDS.values()))
    rows = []
    for group in groups:
        for name, f in FIELDS.items():
            if f.metadata["group"] == group and name in config:
                changed = config[name] != defaults.get(name)
                value = tag("b", format_value(config[name])) if changed else format_value(config[name])
                rows.append([tag("code", flag(name)), value, group, prose(f.metadata["help"].replace("%%", "%"))])
    rows += [
        [tag("code", flag(name)), format_value(value), "", "a setting of another version"]
        for name, value in config.items()
        if name not in FIELDS and name != "preset"
    ]
    preset = config.get("preset", "mini")
    return details(
        f"All {len(rows)} settings",
        note(f"Preset {preset}. Bold values differ from the preset."),
        table(["flag", "value", "about", "meaning"], rows, class_="settings"),
    )


def flag(name: str) -> str:
    """The flag of a setting, for example "--noise-step" for noise_step."""
    return f"--{name.replace('_', '-')}"


def _preset(config):
    """The settings of the run's preset, by name."""
    default = {name: f.default for name, f in FIELDS.items()} | PRESETS.get(config.get("preset"), {})
    return {name: list(value) if isinstance(value, tuple) else value for name, value in default.items()}


def format_value(value) -> str:
    """A setting's value as text."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def command(results) -> str:
    """The command that repeats the run."""
    config, machine = results["config"], results["machine"]
    defaults = _preset(config)
    parts = ["minihire", "run"]
    if config.get("preset", "mini") != "mini":
        parts += ["--preset", config["preset"]]
    adapted = own_images.ADAPTED if config.get("preset") == own_images.PRESET else ()
    for name in FIELDS:
        if name in config and (config[name] != defaults[name] or name in adapted) and config[name] is not None:
            parts += _flag_and_value(name, config[name])
    execution = {"backend": "numba", "device": "cpu", "precision": "float32"}
    for name, default in execution.items():
        if machine.get(name, default) != default:
            parts += [f"--{name}", machine[name]]
    if machine.get("ranks", 1) > 1:
        parts[:1] = ["torchrun", "--nproc-per-node", machine["ranks"], "-m", "minihire"]
    return shlex.join(map(str, parts))


def _flag_and_value(name, value):
    if isinstance(value, bool):
        return [flag(name) if value else f"--no-{flag(name)[2:]}"]
    if isinstance(value, list):
        return [flag(name), ",".join(map(str, value))]
    levels = value * 255 if name in ("epsilon", "adversarial_epsilon") else None
    if levels and float(round(levels)) / 255 == value:
        return [flag(name), f"{round(levels)}/255"]
    return [flag(name), value]


def again(results) -> Markup:
    """The command that repeats the run, and a note on how exactly it does."""
    return join(
        [
            tag("pre", tag("code", command(results)), tabindex="0"),
            note(
                "Random draws depend only on the settings. So the same version on the same CPU gives the same results; another "
                "machine rounds differently, and results may differ slightly. If the data are in another folder, add ",
                command_text("--data-dir"),
                ".",
            ),
        ]
    )


def machine(results) -> Markup:
    """The machine, backend and software that the run used."""
    words = {
        "processor": "processor",
        "cores": "cores",
        "system": "system",
        "backend": "backend",
        "device": "device",
        "dtype": "numbers",
        "precision": "precision of products",
        "threads": "threads",
        "ranks": "processes",
        "python": "Python",
        "numpy": "NumPy",
        "started": "started (UTC)",
    }
    given = [(words.get(key, key), value) for key, value in results["machine"].items() if value not in (None, "")]
    pairs = [tag("div", tag("dt", name), tag("dd", format_value(value))) for name, value in given]
    return tag("dl", pairs, tag("div", tag("dt", "minihire"), tag("dd", results["minihire"])), class_="facts")
