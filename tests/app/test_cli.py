"""The commands, run as a user would on a CIFAR-10 of sixty images; the chain of single commands gives what `run` gives."""

import argparse
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from run_files import command, scores, weights, write_cifar10

import minihire
from backends import get_backend
from minihire.app import analyze, attack, cli, completion, convert, demo, folders, run, train
from minihire.app.inputs import read_config, resolve
from minihire.attacks import gradient
from minihire.runtime.files import write_atomically
from minihire.runtime.progress import Progress
from minihire.runtime.terminal import RED, styled
from minihire.study.settings import preset
from minihire.training.checkpoint import load, save

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "run",
    "train",
    "convert",
    "attack",
    "analyze",
    "predict",
    "report",
    "import",
    "export",
    "pack",
    "paper",
    "info",
    "demo",
    "completion",
)
SMALL = {
    "width": 1 / 32,
    "hidden": 12,
    "dropout": 0.0,
    "steps": 4,
    "ann-epochs": 6,
    "snn-epochs": 1,
    "ann-batch-size": 10,
    "batch-size": 10,
    "calibration-images": 8,
    "calibration-steps": 20,
    "iterations": 2,
    "heldout": 5,
    "train-limit": 40,
    "test-limit": 20,
}
EXECUTION = ["--threads", "1", "--quiet"]


USES = {"run": run.USES, "convert": convert.USES, "attack": attack.USES, "analyze": analyze.USES}


def small(folder, what="run", **changes):
    """Flags of the smallest run on that data, as far as a command ("run", "train ann", "attack", …) has them."""
    settings = {
        "data": "cifar10",
        "data-dir": folder,
        **SMALL,
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    used = train.uses(what.removeprefix("train ")) if what.startswith("train ") else USES[what]
    settings = {name: value for name, value in settings.items() if name.replace("-", "_") in used}
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """A folder with a small CIFAR-10."""
    return write_cifar10(tmp_path_factory.mktemp("cifar"))


@pytest.fixture(scope="module")
def finished(cifar, tmp_path_factory):
    """A finished run: (its folder, what it printed)."""
    out = tmp_path_factory.mktemp("runs") / "small"
    code, text = command("run", *small(cifar), *EXECUTION, "--out", out)
    assert code == 0
    return out, text


@pytest.fixture
def no_figures(monkeypatch):
    """Drawing takes longer than a small run."""
    monkeypatch.setattr("minihire.app.run.draw_all", lambda results, folder: [])


def results_of(out):
    """A run's results.json."""
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


# ---------------------------------------------------------------- run


def test_run_leaves_results_checkpoints_and_figures(finished):
    out, _ = finished
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.suffix}
    models = {
        f"models/{folder}{name}.npz"
        for folder in ("", "second/")
        for name in ("ann", "converted", "traditional", "hire")
    }
    assert names == {
        "results.json",
        "config.json",
        "curves.csv",
        "report.html",
        *models,
        *(f"figures/{name}.png" for name in ("training", "examples", "accuracy", "activity", "energy")),
    }
    assert results_of(out)["finished"]


def test_run_writes_its_settings_and_its_training_curves(finished):
    out, _ = finished
    results = results_of(out)
    assert read_config(out / "config.json")[0] == results["config"]
    rows = list(csv.DictReader((out / "curves.csv").read_text(encoding="utf-8").splitlines()))
    expected = [
        (name, model["seed"], row["epoch"], row["loss"], row["accuracy"])
        for name, model in results["models"].items()
        for row in model["history"]
    ]
    found = [
        (row["network"], int(row["seed"]), int(row["epoch"]), float(row["loss"]), float(row["accuracy"]))
        for row in rows
    ]
    assert found == expected and len(found) > 3


def test_a_file_of_settings_may_leave_out_those_of_its_preset(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"preset": "cifar10-small", "data_dir": "x", "steps": 5, "methods": ["hire"]}', encoding="utf-8")
    expected = preset("cifar10-small", data_dir="x", steps=5, methods=("hire",))
    assert read_config(file) == (expected.describe(), ["data_dir", "steps", "methods"])
    options = argparse.Namespace(steps=4)
    assert resolve(options, read_config(file)[0]) == replace(expected, steps=4)


def test_run_prints_its_tables_and_where_the_results_are(finished):
    out, text = finished
    for title in (
        "accuracy, %",
        "TASA",
        "energy per image",
        "phase",
        "HIRE-SNN",
        "traditional SNN",
        "converted SNN",
        "ANN",
    ):
        assert f"\n{title} " in text, title
    assert f"{out}/results.json and 5 figures in {out}/figures/" in text
    assert text.endswith(f"{out}/report.html: the run on one page\n")


def test_run_evaluates_every_network_under_every_attack(finished):
    white = {
        (model, *how)
        for model in ("ann", "converted", "traditional", "hire")
        for how in (("clean", "none"), ("white_box", "fgsm"), ("white_box", "pgd"))
    }
    black = {(model, "black_box", attack) for model in ("ann", "traditional", "hire") for attack in ("fgsm", "pgd")}
    assert scores(results_of(finished[0])).keys() == white | black


def test_the_page_of_the_schema_lists_the_entries_of_results_json(finished):
    results = results_of(finished[0])
    page = (ROOT / "docs" / "results-schema.md").read_text(encoding="utf-8").partition("\n# ")[0]
    rows = re.findall(r"^\| (`.+?`) \| (.+) \|$", page, re.MULTILINE)
    listed = [key for cell, _ in rows for key in re.findall(r"`([\w.*]+)`", cell)]
    assert {key for key in listed if "." not in key} == {*results}
    words = {cell.strip("`"): {*re.findall(r"`([\w-]+)`", text)} for cell, text in rows}
    words["models"] |= {key.rpartition(".")[2] for key in listed if key.startswith("models.*")}
    first = lambda entries: next(iter(entries.values()))
    for key, entries in {
        **{key: [results[key]] for key in ("machine", "data")},
        **{key: results[key] for key in ("accuracy", "examples")},
        **{key: [*results[key].values()] for key in ("phases", "models", "energy", "distance")},
        **{key: first(results[key]) for key in ("activity", "spike_trains")},
        "models.*.history": first(results["models"])["history"],
        "models.*.cost": [results["models"]["hire"]["cost"]],
        "models.*.noise": [results["models"]["hire"]["noise"]],
    }.items():
        assert entries and {name for entry in entries for name in entry} <= words[key], key


def test_the_small_run_is_worth_comparing(finished):
    assert len(set(scores(results_of(finished[0])).values())) > 3  # else equal accuracies would say nothing


def test_results_name_every_setting_and_the_data(finished, cifar):
    results = results_of(finished[0])
    assert results["config"]["data_dir"] == str(cifar) and results["config"]["snn_epochs"] == 1
    assert results["data"] == {
        "name": "cifar10",
        "classes": results["data"]["classes"],
        "image_shape": [32, 32, 3],
        "train": 40,
        "heldout": 5,
        "test": 20,
        "digest": results["data"]["digest"],
    }


def test_resuming_a_finished_run_changes_nothing_and_trains_nothing(finished, no_figures, monkeypatch):
    out, _ = finished
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for name in ("study.train", "study.converted_snn", "networks.measure_activity", "study.attacked_predictions"):
        monkeypatch.setattr(f"minihire.study.{name}", None)
    code, text = command("run", "--resume", "--out", out, *EXECUTION)
    assert code == 0 and "accuracy, %" in text
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_without_matplotlib_run_says_what_it_left_out(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, text = command("run", "--resume", "--out", finished[0], *EXECUTION)
    assert (
        code == 0 and f"{finished[0]}/results.json; figures were not drawn, because matplotlib is not installed" in text
    )


@pytest.mark.parametrize("taken", [("figures",), ("report.html",), ("figures", "curves.csv")])
def test_what_cannot_be_written_after_a_run_is_an_error(finished, tmp_path, monkeypatch, capsys, taken):
    out = shutil.copytree(finished[0], tmp_path / "my run")
    for name in taken:
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.write_text("") if name == "figures" else path.mkdir()
    code, text = command("run", "--resume", "--out", out, *EXECUTION)
    assert code == 2 and "accuracy, %" in text
    error = capsys.readouterr().err
    assert error.count("could not be written (") == len(taken) and error.count("\n") == 1
    assert error.endswith(f"remove the cause, and `minihire run --resume --out '{out}'` writes the rest\n")


def test_a_run_needs_no_folder_and_numbers_itself(cifar, tmp_path, monkeypatch, no_figures):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("minihire.study.run.Run.run", lambda self: self.results)
    monkeypatch.setattr("minihire.app.run.show_results", lambda *_: None)
    for _ in range(3):
        assert command("run", *small(cifar), *EXECUTION)[0] == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["mini", "mini-2", "mini-3"]
    assert folders.choose(None, "mini", True) == Path("runs/mini-3")
    shutil.rmtree("runs/mini-2")
    shutil.copytree("runs/mini", "runs/mini-2core")  # the folder of another preset
    assert folders.choose(None, "mini", True) == Path("runs/mini-3")
    assert folders.choose(None, "mini", False) == Path("runs/mini-2")
    for place, time in (("mini", 4e9), ("mini-3", 3e9), ("mini-2core", 5e9)):
        os.utime(f"runs/{place}/results.json", (time, time))
    assert folders.choose(None, "mini", True) == Path("runs/mini")


def test_resuming_keeps_the_settings_of_the_start(cifar, tmp_path, monkeypatch, no_figures):
    monkeypatch.setattr("minihire.study.run.Run.run", lambda self: self.results)
    monkeypatch.setattr("minihire.app.run.show_results", lambda *_: None)
    assert command("run", *small(cifar), *EXECUTION, "--out", tmp_path / "x")[0] == 0
    for again in ([], small(cifar), ["--preset", "mini", *small(cifar)], ["--batch-size", "10"]):
        assert command("run", "--resume", *again, *EXECUTION, "--out", tmp_path / "x")[0] == 0


def test_data_may_move_between_the_parts_of_a_run(cifar, tmp_path, monkeypatch, no_figures):
    monkeypatch.setattr("minihire.study.run.Run.run", lambda self: self.results)
    monkeypatch.setattr("minihire.app.run.show_results", lambda *_: None)
    assert command("run", *small(cifar), *EXECUTION, "--out", tmp_path / "x")[0] == 0
    elsewhere = write_cifar10(tmp_path / "elsewhere")
    assert command("run", "--resume", "--data-dir", elsewhere, *EXECUTION, "--out", tmp_path / "x")[0] == 0


# ---------------------------------------------------------------- the chain of single commands


@pytest.fixture(scope="module")
def chain(cifar, tmp_path_factory):
    """ann → converted → hire by single commands: (their folder, what each printed)."""
    folder, texts = tmp_path_factory.mktemp("chain"), {}
    for name, arguments in {
        "ann": ["train", "ann", *small(cifar, "train ann")],
        "converted": ["convert", folder / "ann.npz", *small(cifar, "convert")],
        "hire": ["train", "hire", "--from", folder / "converted.npz", *small(cifar, "train hire")],
    }.items():
        code, texts[name] = command(*arguments, *EXECUTION, "--out", folder / f"{name}.npz")
        assert code == 0
    return folder, texts


@pytest.mark.parametrize("name", ["ann", "converted", "hire"])
def test_single_commands_train_what_a_run_trains(chain, finished, name):
    assert weights(chain[0] / f"{name}.npz") == weights(finished[0] / "models" / f"{name}.npz")


def test_a_file_that_appeared_during_a_conversion_is_kept(chain, cifar, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("minihire.app.convert.require_absent", lambda path: path)  # it looked before the file was there
    (tmp_path / "x.npz").write_text("mine")
    arguments = ["convert", chain[0] / "ann.npz", *small(cifar, "convert"), *EXECUTION, "--out", tmp_path / "x.npz"]
    assert command(*arguments)[0] == 2 and (tmp_path / "x.npz").read_text() == "mine"
    assert "x.npz exists by now, so the output was written to" in capsys.readouterr().err
    assert weights(tmp_path / "x-2.npz") == weights(chain[0] / "converted.npz")


def test_single_commands_say_what_they_made(chain, finished):
    folder, texts = chain
    models = results_of(finished[0])["models"]
    for name in ("ann", "hire"):
        last = models[name]["history"][-1]
        line, *warnings = texts[name].strip().splitlines()
        assert line == (
            f"{folder / name}.npz: loss {last['loss']:.3f}, training accuracy {last['accuracy']:.1%}, "
            f"held-out accuracy {last['heldout_accuracy']:.1%}"
        )
        assert all(warning.startswith(f"warning: {name}") for warning in warnings)
    for layer, threshold in models["converted"]["thresholds"].items():
        assert [layer, f"{threshold:.4f}"] in [line.split() for line in texts["converted"].splitlines()]
    assert texts["converted"].endswith("an SNN of 4 time steps\n")


@pytest.mark.parametrize("name", ["ann", "converted", "hire"])
def test_attack_gives_the_numbers_of_the_run(finished, tmp_path, name):
    code, text = command("attack", finished[0] / "models" / f"{name}.npz", *EXECUTION, "--json", tmp_path / "x.json")
    found, run = json.loads((tmp_path / "x.json").read_text(encoding="utf-8")), scores(results_of(finished[0]))
    assert code == 0 and "white box; ε = 8/255, PGD: α = 0.01, K = 2" in text
    expected = {
        "clean": run[name, "clean", "none"],
        "fgsm": run[name, "white_box", "fgsm"],
        "pgd": run[name, "white_box", "pgd"],
    }
    assert {attack: score["correct"] for attack, score in found["accuracy"].items()} == expected


@pytest.mark.parametrize("name", ["ann", "hire"])
def test_attack_with_a_source_gives_the_black_box_numbers_of_the_run(finished, tmp_path, name):
    models = finished[0] / "models"
    code, text = command(
        "attack",
        models / f"{name}.npz",
        "--source",
        models / "second" / f"{name}.npz",
        *EXECUTION,
        "--json",
        tmp_path / "x.json",
    )
    found, run = (
        json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["accuracy"],
        scores(results_of(finished[0])),
    )
    assert code == 0 and f"black box, crafted on {models / 'second' / name}.npz" in text
    assert {attack: found[attack]["correct"] for attack in ("fgsm", "pgd")} == {
        attack: run[name, "black_box", attack] for attack in ("fgsm", "pgd")
    }


def test_attack_takes_other_settings_than_the_checkpoint_s(finished, monkeypatch):
    seen = []
    monkeypatch.setattr(
        gradient.Attack,
        "attacker",
        lambda attack, network: lambda images, labels, draws: seen.append((network.steps, attack)) or images,
    )
    assert (
        command(
            "attack",
            finished[0] / "models" / "hire.npz",
            "--epsilon",
            "16/255",
            "--iterations",
            "5",
            "--steps",
            "3",
            *EXECUTION,
        )[0]
        == 0
    )
    assert [(steps, attack.epsilon, attack.iterations) for steps, attack in seen] == [
        (3, 16 / 255, 1),
        (3, 16 / 255, 5),
    ]


@pytest.mark.parametrize("name", ["analyze", "attack"])
def test_a_network_of_divided_periods_takes_fewer_steps_than_periods(finished, tmp_path, name):
    saved = load(finished[0] / "models" / "hire.npz")
    about = {**saved.meta["about"], "periods": 2, "time_division": "3+1"}
    save(tmp_path / "divided.npz", saved.network(get_backend("reference")), extra={"about": about})
    flags = ["--steps", 1, "--test-limit", 5, "--json", tmp_path / "x.json", *EXECUTION]
    assert command(name, tmp_path / "divided.npz", *flags)[0] == 0


def test_analyze_gives_the_figures_of_the_run(finished, tmp_path):
    code, text = command("analyze", finished[0] / "models" / "hire.npz", *EXECUTION, "--json", tmp_path / "x.json")
    found, run = json.loads((tmp_path / "x.json").read_text(encoding="utf-8")), results_of(finished[0])
    assert code == 0 and "dense operations" in text and "energy per image" in text
    assert found["activity"] == run["activity"]["hire"] and found["energy"] == run["energy"]["hire"]


def test_info_of_a_checkpoint_is_that_of_its_model_with_its_own_time_steps_data_and_classes(finished):
    path = finished[0] / "models" / "hire.npz"
    code, text = command("info", path)
    table, sentence = text.rstrip().rsplit("\n\n", 1)
    of_model = command("info", "vgg5", "--width", 1 / 32, "--hidden", 12)[1]
    assert code == 0 and table == of_model.rstrip().rsplit("\n\n", 1)[0]
    classes = results_of(finished[0])["data"]["classes"]
    assert sentence.startswith(
        f"{path}: an SNN of T = 4 time steps (vgg5), trained on cifar10, with 10 classes ({', '.join(classes)});"
    )
    code, text = command("info", finished[0] / "models" / "ann.npz", "--json", "-")
    found = json.loads(text)
    assert (found["spiking"], found["steps"], found["data"], found["classes"]) == (False, 1, "cifar10", classes)


def test_info_counts_the_weights_of_the_paper_s_network():
    code, text = command("info", "vgg5")
    assert "vgg5: T = 6 time steps by default;" in text
    total = [line.split() for line in text.splitlines() if line.startswith("total")][0]
    assert (
        code == 0
        and int(total[1].replace(",", ""))
        == 9 * (3 * 64 + 64 * 128 + 128 * 128) + 8192 * 4096 + 4096 * 4096 + 4096 * 10
    )


def test_an_interrupted_train_goes_on_with_resume(cifar, chain, tmp_path, monkeypatch, capsys):
    add, calls = Progress.add, []
    arguments = ["train", "ann", *small(cifar, "train ann"), *EXECUTION, "--out", tmp_path / "ann.npz"]
    with monkeypatch.context() as patch:
        patch.setattr(
            Progress,
            "add",
            lambda *a: (calls.append(1), len(calls) == 7 and signal.raise_signal(signal.SIGINT), add(*a)),
        )
        assert command(*arguments)[0] == 130
    assert "--resume resumes it" in capsys.readouterr().err
    assert command(*arguments, "--resume")[0] == 0
    assert weights(tmp_path / "ann.npz") == weights(chain[0] / "ann.npz")


# ---------------------------------------------------------------- help, version, exit codes


def test_version_in_a_process_of_its_own():
    done = subprocess.run([sys.executable, "-m", "minihire", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout.startswith(f"minihire {minihire.__version__}; backends: numba ")
        and "reference (numpy" in done.stdout
    )


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_of_every_command(arguments, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert caught.value.code == 0 and out.startswith("usage: minihire") and err == ""
    assert "%(" not in out and "%%" not in out
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert len(out.splitlines()) <= 60


@pytest.mark.parametrize(("arguments", "uses"), [(["run"], run.USES), (["train"], train.USES)], ids=["run", "train"])
def test_help_all_shows_every_flag_and_help_the_common_ones(arguments, uses, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            cli.main([*arguments, flag])
        shown[flag] = set(re.findall(r"^  --(?:\[no-\])?([a-z-]+)", capsys.readouterr().out, re.M))
    assert {name.replace("_", "-") for name in uses} < shown["--help-all"]
    assert {"data", "model", "ann-epochs", "help-all"} < shown["--help"] < shown["--help-all"]


def test_the_commands_are_listed(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.startswith(f"    {name} ") for line in lines) for name in COMMANDS)


def test_a_missing_argument_names_the_command_s_help(capsys):
    assert cli.main(["report"]) == 2
    assert (
        capsys.readouterr().err
        == "minihire: the following arguments are required: DIR|FILE; see minihire report --help\n"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_has_examples_that_the_command_understands(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    examples = capsys.readouterr().out.partition("examples:")[2]
    assert f"minihire {name}" in examples
    for flag in re.findall(r" (--[a-z-]+)", examples):
        assert flag == "--nproc-per-node" or any(flag in sub._option_string_actions for sub in every_parser().values())


def every_parser():
    return completion.commands(cli.make_parser())


def test_a_setting_s_help_shows_what_the_default_preset_has():
    shown = " ".join(every_parser()["run"].format_help().split())
    assert "time steps T of the SNN [4]" in shown and "bound ε, in pixels of [0, 1] [8/255]" in shown
    assert "[" not in every_parser()["analyze"].format_help().partition("data:")[2]  # a checkpoint has its own


def test_json_on_standard_output_stands_alone(finished, capsys):
    capsys.readouterr()
    for arguments in (["info", "vgg5"], ["analyze", finished[0] / "models" / "hire.npz", *EXECUTION]):
        assert cli.main([*map(str, arguments), "--json", "-"]) == 0
        content = json.loads(capsys.readouterr().out)
        assert content.get("layers") or content["activity"]


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_that_want_them(monkeypatch, environment, coloured):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (styled("x", RED, Terminal()) != "x") == coloured
    assert styled("x", RED, io.StringIO()) == "x"


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion_knows_every_command_and_flag(shell, capsys, tmp_path):
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    parsers = completion.commands(cli.make_parser())
    assert {*parsers} == {*COMMANDS} and "resnet20" in text
    for name, parser in parsers.items():
        flags = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
        if shell == "fish":
            found = {f"--{flag}" for flag in re.findall(rf"from {name}' -l (\S+)", text)}
        else:
            found = {
                word for word in re.search(rf'^ *{name}\) words="([^"]*)"', text, re.M)[1].split() if word[0] == "-"
            }
        assert found == flags, name
    if shutil.which(shell):
        path = tmp_path / "completion"
        path.write_text(text, encoding="utf-8")
        assert subprocess.run([shell, "-n", path], capture_output=True, text=True).stderr == ""


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["an"], ["analyze"]),
        (["run", "--noise-b"], ["--noise-bound"]),
        (["run", "--coding", "r"], ["rate"]),
        (["info", "--js"], ["--json"]),
        (["attack", "--suite", ""], ["parity", "strong"]),
        (["attack", "--budget", ""], ["small", "full"]),
        (["attack", "--attacks", "sq"], ["square"]),
        (["attack", "--surrogate", "a"], ["arctan"]),
        (["run", "--preset", "mini"], ["mini"]),
        (["run", "--backend", ""], ["numba", "reference", "torch"]),
        (["run", "--out", ""], []),  # bash then completes names of files
        (["paper", "--scale", ""], ["mini", "small", "medium", "full"]),
        (["paper", "table2", "fig1"], ["fig1b", "fig1c", "fig10", "fig11", "fig1"]),
        (["completion", "z"], ["zsh"]),
        (["train", "hire"], ["hire", "hire-4x"]),
        (["import", "--data", ""], ["cifar10", "cifar100"]),
        (["export", "--to", ""], ["pt", "nir", "onnx"]),
        (["info", "resnet"], ["resnet12", "resnet20"]),
    ],
)
def test_bash_completes(words, expected, capsys, tmp_path):
    cli.main(["completion", "bash"])
    path = tmp_path / "completion"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    line = " ".join(f"'{word}'" for word in ("minihire", *words))
    asked = f"source {path}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _minihire; echo ${{COMPREPLY[@]}}"
    assert subprocess.run(["bash", "-c", asked], capture_output=True, text=True).stdout.split() == expected


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion_knows_the_lessons_and_the_flags_with_files(shell, capsys):
    cli.main(["completion", shell])
    text, numbers = capsys.readouterr().out, " ".join(str(lesson.number) for lesson in demo.lessons())
    assert numbers in text
    if shell == "fish":
        assert "from demo' -a '1 2" in text and "from train' -l from -r\n" in text and " -l resume\n" in text
        assert "-l suite -x -a 'parity strong'\n" in text


def test_ctrl_c_anywhere_is_one_sentence_and_130(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("minihire.app.info.build", interrupted)
    assert cli.main(["info", "vgg5"]) == 130
    assert capsys.readouterr().err == "minihire: stopped; nothing was written yet\n"


def test_ctrl_c_after_the_first_file_says_what_resumes_the_work(cifar, monkeypatch, capsys, tmp_path):
    def interrupted(path, network, *_, **__):
        write_atomically(path, lambda file: file.write(b"a checkpoint"))
        raise KeyboardInterrupt

    monkeypatch.setattr("minihire.training.checkpoint.save", interrupted)
    arguments = ["train", "ann", *small(cifar, "train ann"), *EXECUTION, "--out", tmp_path / "ann.npz"]
    assert command(*arguments)[0] == 130
    assert capsys.readouterr().err == "minihire: stopped; finished work was kept (--resume resumes it)\n"


@pytest.mark.parametrize("what", ["run", "convert"])
def test_ctrl_c_in_a_conversion_says_how_to_get_it(cifar, chain, no_figures, monkeypatch, capsys, tmp_path, what):
    add = Progress.add

    def interrupting(self, *arguments):
        if self.label == "conversion":
            signal.raise_signal(signal.SIGINT)
        add(self, *arguments)

    monkeypatch.setattr(Progress, "add", interrupting)
    first = [chain[0] / "ann.npz"] if what == "convert" else []
    out = tmp_path / ("snn.npz" if what == "convert" else "run")
    assert command(what, *first, *small(cifar, what), *EXECUTION, "--out", out)[0] == 130
    assert capsys.readouterr().err.endswith(
        {
            "run": "minihire: stopped during the conversion; earlier work was kept; "
            f"minihire run --resume --out {out} resumes it\n",
            "convert": "minihire: stopped during the conversion; its results were discarded, so start it again\n",
        }[what]
    )


def test_ctrl_c_in_a_lesson_is_one_sentence(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("minihire.app.demo.subprocess.run", interrupted)
    assert cli.main(["demo", "1"]) == 130
    assert capsys.readouterr().err == "minihire: stopped lesson 1\n"


def plain(**changes):
    """The environment without settings that change how Python writes."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8")
    } | changes


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_closed_pipe_is_no_traceback():
    done = subprocess.run(
        f"{sys.executable} -m minihire info vgg11 | true",
        cwd=ROOT,
        env=plain(),
        shell=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


@pytest.mark.slow
def test_a_terminal_that_lacks_letters_is_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "minihire", "info", "vgg5"],
        cwd=ROOT,
        env=plain(PYTHONIOENCODING="ascii"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_more_threads_than_cores_are_noted(finished, monkeypatch):
    monkeypatch.setattr("minihire.app.inputs.processors.affinity", lambda: 1)
    path = finished[0] / "models" / "ann.npz"
    for threads, noted in ((1, False), (2, True)):
        text = command("analyze", path, "--backend", "reference", "--threads", threads)[1]
        assert text.startswith("note: --threads 2 is more than the 1 core that the program may use\n") == noted


def test_quiet_prints_the_tables_and_nothing_else(finished):
    out, text = finished
    *tables, end = text.strip().split("\n\n")
    assert [table.split("  ")[0] for table in tables] == ["accuracy, %", "TASA", "energy per image", "phase"]
    for table in tables:
        rule, *rows = table.splitlines()[1:]
        assert {*rule} == {"─", " "} and {len(row) for row in rows} == {len(rule)}
    assert all(line.startswith((f"{out}/", "warning: ")) for line in end.splitlines())


def test_quiet_ends_with_its_command(capsys):
    assert cli.main(["info", "vgg5", "--json", "-"]) == 0 and not Progress.quiet


def test_an_unknown_flag_names_the_command_whose_help_has_them(capsys):
    assert cli.main(["run", "--colour", "red"]) == 2
    assert capsys.readouterr().err == "minihire: run has no --colour; see minihire run --help\n"


def test_a_training_at_chance_level_says_so_at_its_end(cifar, tmp_path):
    flags = [*small(cifar, "train ann", ann_epochs=1, ann_learning_rate=1e-6), *EXECUTION]
    code, text = command("train", "ann", *flags, "--out", tmp_path / "ann.npz")
    assert code == 0 and text.splitlines()[-1].startswith("warning: ann: its accuracy cannot be told from chance")
