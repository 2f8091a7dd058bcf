"""Every command with every flag of the program: the flag changes what the command does, or it is refused in one sentence."""

import argparse
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from recorder import REFERENCE, Recorder

from backends.randomness import Draws
from backends.surrogates import arctan, triangle
from minihire.analysis import Score
from minihire.app import cli, completion
from minihire.app.flags import number
from minihire.attacks import ATTACKS, Robustness, fgsm
from minihire.attacks.images import craft_images, save_images
from minihire.data import load
from minihire.models import build
from minihire.network import Network, initialise
from minihire.runtime.files import FileError
from minihire.runtime.progress import Progress
from minihire.study.results import Results
from minihire.study.settings import ANN_METHODS, METHODS, preset
from minihire.training import checkpoint

UNKNOWN = ["--data", "cifar100"]  # for checkpoints that do not record their data set
# the arguments of each command without any flag that is optional; "…" is the folder with the files below
BASES = {
    "run": ["--out", "…/run"],
    **{f"train {m}": [m, "--out", "…/new.npz"] for m in ANN_METHODS},
    **{f"train {m}": [m, "--from", "…/snn.npz", "--out", "…/new.npz"] for m in METHODS if m not in ANN_METHODS},
    "convert": ["…/ann.npz", "--out", "…/new.npz"],
    "attack": ["…/snn.npz"],
    "attack FILE": ["…/snn.npz", "…/image.png"],
    "attack fgsm": ["…/snn.npz", "--attacks", "fgsm"],
    "attack rate": ["…/rate.npz"],
    "attack --suite": ["…/snn.npz", "--suite", "parity"],
    "analyze": ["…/snn.npz"],
    "analyze rate": ["…/rate.npz"],
    "predict": ["…/rate.npz", "…/image.png"],
    **{f"{name} unknown": ["…/unknown.npz", *UNKNOWN] for name in ("attack", "analyze")},
    "convert unknown": ["…/unknown-ann.npz", *UNKNOWN, "--out", "…/new.npz"],
    "predict unknown": ["…/unknown.npz", "…/image.png"],
    "info": ["vgg5"],
    "report": ["…/a"],
    "paper": ["table2", "--scale", "small", "--data-dir", "…/c"],
    "import": ["…/a.pt"],
    "export": ["…/snn.npz"],
    "pack": ["…/snn.npz", "--license", "…/module.py"],
    "pack rate": ["…/rate.npz", "--license", "…/module.py"],
    "pack unknown": ["…/unknown.npz", *UNKNOWN, "--license", "…/module.py"],
    "demo": ["1"],
    "completion": ["bash"],
}
# a value for each flag, unlike the default; flags without one are switches
VALUES = """--data cifar10 | --data-dir …/elsewhere | --image-size 16 | --train-limit 7 | --test-limit 7 | --heldout 3 |
--model vgg9 | --width 0.25 | --hidden 9 | --dropout 0.5 | --steps 3 | --coding rate | --readout spikes |
--reset delayed | --gamma 0.7 | --time-chunk 2 | --ann-epochs 3 | --ann-batch-size 9 | --ann-learning-rate 0.5 |
--ann-schedule step | --weight-decay 0.5 | --scaling-factor 0.9 | --calibration-images 5 | --calibration-steps 5 |
--methods hire | --snn-epochs 3 | --batch-size 9 | --learning-rate 0.5 | --optimiser sgd | --snn-schedule one-cycle |
--noise-iterations 3 | --craft-surrogate arctan:3 | --time-division 1+2 | --adversarial-epsilon 0.5 |
--adversarial-iterations 3 | --adversarial-alpha 0.5 | --adversarial-epochs 3 | --periods 1 |
--noise-step 0.5 | --noise-bound 0.5 | --epsilon 0.5 | --alpha 0.5 | --iterations 3 | --seed 3 |
--preset cifar10-small | --out …/other.npz | --max-minutes 3 | --module …/module.py | --backend torch |
--device cuda | --precision tf32 | --threads 3 | --from …/other-snn.npz | --source …/other-snn.npz |
--suite strong | --budget full | --save-images …/crafted.npz | --images …/x.npz | --restarts 2 | --samples 3 | --queries 7 |
--json …/scores.json | --csv …/scores.csv | --attacks apgd |
--surrogate arctan:3 | --classes 7 | --image-shape 16 16 3 | --scale full | --to nir |
--seeds 3 | --models vgg5 | --check …/module.py | --keep-every 2 | --config …/config.json | --license …/LICENSE"""
VALUES = dict(part.strip().split(" ", 1) for part in VALUES.split("|"))
OWN_VALUES = {("export", "--out"): "…/other.pt", ("pack", "--out"): "…/other.zip"}
NEEDS = {  # what a flag needs beside it to have an effect
    ("attack", "--max-minutes"): ["--json", "…/scores.json"],
    ("attack", "--budget"): ["--suite", "strong"],
    ("attack", "--queries"): ["--attacks", "square"],
    ("attack", "--gamma"): ["--reset-grad"],
    ("run", "--resume"): ["--out", "…/done"],
    **{
        ("run", f"--adversarial-{name}"): ["--methods", "adversarial"]
        for name in ("epsilon", "iterations", "alpha", "epochs")
    },
    ("train", "--resume"): ["--out", "…/snn.npz"],
    ("paper", "--models"): ["--scale", "full"],
    **{(name, "--no-record"): ["--device", "cuda"] for name in ("run", "train", "attack", "paper")},
    **{(name, "--record"): ["--device", "cuda"] for name in ("run", "train", "attack", "paper")},
}
ALREADY_ON = {"--record", "--augment", "--carry-noise", "--clip-noise", "--random-start", "--black-box"}
ALREADY_OFF = {"--no-reset-grad", "--no-freeze", "--no-carry-membranes", "--no-craft-after-update"}


def parsers():
    return completion.commands(cli.make_parser())


def flags_of(parser):
    """The long flags of a parser but for --help and --help-all, which print and exit."""
    skipped = (argparse._HelpAction,)
    found = [f for a in parser._actions if not isinstance(a, skipped) for f in a.option_strings if f.startswith("--")]
    return [flag for flag in found if flag != "--help-all"]


EVERY = sorted({flag for parser in parsers().values() for flag in flags_of(parser)})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Checkpoints of the data set shapes, and a module."""
    folder = tmp_path_factory.mktemp("place")
    vgg, about = build("vgg5", width=1 / 32, hidden=12), preset("mini", width=1 / 32, hidden=12).describe()
    resnet = build("resnet12", width=1 / 32)
    for name in ("ann", "snn", "other-snn", "rate", "arctan", "resnet"):
        model, spiking, coding = (
            resnet if name == "resnet" else vgg,
            name != "ann",
            "rate" if name == "rate" else "direct",
        )
        parameters = initialise(model, REFERENCE, len(name), spiking)
        network = Network(model, REFERENCE, parameters, spiking=spiking, steps=4 if spiking else 1, coding=coding)
        if name == "arctan":
            network = replace(network, neuron=replace(network.neuron, surrogate=arctan(2.0)))
        checkpoint.save(folder / f"{name}.npz", network, extra={"about": about})
    Image.new("RGB", (40, 30)).save(folder / "image.png")
    for name in ("snn", "ann"):
        network = checkpoint.load(folder / f"{name}.npz").network(REFERENCE)
        checkpoint.save(folder / f"unknown{'-ann' if name == 'ann' else ''}.npz", network)
        if name == "snn":
            images = load("shapes", test_limit=2).test
            save_images(folder / "x.npz", craft_images(network, network, images, fgsm(0.01)))
    (folder / "a").mkdir()  # for `report`
    (folder / "LICENSE").write_text("Free for all.\n")
    (folder / "config.json").write_text(json.dumps(preset("mini", steps=3).describe()))
    Results.new(folder / "done" / "results.json", preset("mini").describe(), REFERENCE).save()
    (folder / "module.py").write_text("print('the module was run')\n")
    return folder


@pytest.fixture
def effect(place, monkeypatch, tmp_path, capsys):
    """effect(command, arguments): everything that the command would do, as text; or the sentence that it refuses with."""
    recorder = Recorder()
    for name, replacement in recorder.replacements().items():
        monkeypatch.setattr(f"minihire.app.{name}", replacement)
    monkeypatch.setattr(Progress, "quiet", False)
    monkeypatch.chdir(tmp_path)

    def run(command, arguments):
        recorder.seen.clear()
        words = [command.split()[0], *(word.replace("…", str(place)) for word in arguments)]
        code = cli.main(words)
        out, error = capsys.readouterr()
        written = [path.unlink() or path.name for path in place.glob("scores.*")]
        assert code in (0, 2) and re.fullmatch(r"(minihire: [^\n]+\n)?", error), error
        refused = code == 2 and error != "minihire: recorded\n"
        return error if refused else (repr(recorder.seen), out, written), refused

    return run


def given(flag, command=""):
    value = OWN_VALUES.get((command, flag), VALUES.get(flag))
    return [flag] if value is None else [flag, *value.split()]


@pytest.mark.parametrize("command", BASES)
def test_a_flag_changes_what_the_command_does_or_is_refused(effect, command):
    base, refused = effect(command, BASES[command])
    assert not refused, base
    idle = []
    for flag in flags_of(parsers()[command.split()[0]]):
        if flag in ALREADY_ON | ALREADY_OFF:
            continue  # the other form of the switch is tested
        more = NEEDS.get((command.split()[0], flag), [])
        start, blocked = effect(command, [*BASES[command], *more]) if more else (base, False)
        found, _ = with_flag(effect, command, flag)
        if found == start and not blocked:  # blocked: what the flag needs is refused, so nobody can give it here
            idle.append(flag)
    assert idle == []


def with_flag(effect, command, flag):
    """The effect of a command with a flag, and with what the flag needs. A flag without its value is a fault of these tests."""
    name = command.split()[0]
    found, refused = effect(command, [*BASES[command], *NEEDS.get((name, flag), []), *given(flag, name)])
    assert not (refused and re.search("expected (one|at least one|[0-9]+) argument", found)), found
    return found, refused


def test_every_flag_is_accepted_by_its_command_somewhere(effect):
    """Else the test above could not see a flag without an effect."""
    refused = []
    for name, parser in parsers().items():
        bases = [command for command in BASES if command.split()[0] == name]
        for flag in flags_of(parser):
            if all(with_flag(effect, command, flag)[1] for command in bases):
                refused.append((name, flag))
    assert refused == []


@pytest.mark.parametrize("command", BASES)
def test_flags_of_other_commands_are_refused_and_the_sentence_names_these(effect, command):
    name = command.split()[0]
    own, known = flags_of(parsers()[name]), {other: flags_of(parser) for other, parser in parsers().items()}
    for flag in EVERY:
        if flag not in own:
            sentence, refused = effect(command, [*BASES[command], *given(flag)])
            assert refused and sentence.startswith(f"minihire: {name} has no {flag}; it is a flag of "), sentence
            others = re.split(", | and ", sentence.partition("a flag of ")[2].partition(";")[0])
            assert others == [other for other, flags in known.items() if flag in flags]


@pytest.mark.parametrize("method", METHODS)
def test_a_training_refuses_the_settings_of_other_trainings(effect, method):
    refused = {
        f for f in flags_of(parsers()["train"]) if effect(f"train {method}", [*BASES[f"train {method}"], *given(f)])[1]
    }
    for_anns = {"--ann-epochs", "--model", "--width", "--coding", "--weight-decay"}
    assert for_anns.isdisjoint(refused) if method in ANN_METHODS else for_anns <= refused
    hire = method in ("hire", "hire-4x")
    assert ("--noise-step" in refused) == (method != "gaussian" and not hire)
    one_period = method not in ("control", "gaussian") and not hire
    assert ("--periods" in refused) == ("--time-division" in refused) == one_period
    for flag in ("--noise-bound", "--noise-iterations", "--craft-surrogate"):
        assert (flag in refused) == (not hire), flag
    assert ("--adversarial-epsilon" in refused) == (not method.startswith("adversarial"))
    assert ("--adversarial-epochs" in refused) == (method != "adversarial")


OF_SINGLE_ATTACKS = ("--alpha", "--iterations", "--no-random-start", "--surrogate", "--save-images")


@pytest.mark.parametrize("flag", [*OF_SINGLE_ATTACKS, "--restarts", "--queries"])
def test_a_suite_refuses_the_flags_of_single_attacks(effect, flag):
    sentence, refused = effect("attack", [*BASES["attack --suite"], *given(flag)])
    name = flag.replace("--no-", "--")
    assert refused and sentence == f"minihire: {name} does not apply to --suite: leave it out\n"


@pytest.mark.parametrize("kind", ["parity", "strong"])
def test_a_suite_refuses_the_flags_that_would_change_none_of_its_attacks(effect, place, kind):
    suite = ["…/snn.npz", "--suite", kind]
    sentence, refused = effect("attack", [*suite, "--samples", "3"])
    assert refused and sentence.endswith(
        "--samples averages over random spikes, which no network here has: leave it out\n"
    )
    sentence, refused = effect("attack", [*suite, "--gamma", "0.7"])
    assert refused and sentence == (
        f"minihire: --gamma multiplies the input gradients of {place}/snn.npz by a constant, which changes nothing in "
        "the attacks of --suite: leave it out\n"
    )
    for words in (["--samples", "3"], ["--gamma", "0.7"], []):
        rate = effect("attack", ["…/rate.npz", "--suite", kind, *words])
        assert rate[1] == (words[:1] == ["--gamma"])
    start = effect("attack", suite)[0]
    for words in (["--reset-grad"], ["--reset-grad", "--gamma", "0.7"]):
        found, refused = effect("attack", [*suite, *words])
        assert not refused and found != start
    assert not effect("attack", ["…/resnet.npz", "--suite", kind, "--gamma", "0.7"])[1]
    assert not effect("attack", ["…/arctan.npz", "--suite", kind, "--gamma", "0.7"])[1]


@pytest.mark.parametrize("kind", ["snn", "rate"])
def test_samples_and_seeds_are_refused_where_nothing_is_random(effect, place, tmp_path, kind):
    network = checkpoint.load(place / f"{kind}.npz").network(REFERENCE)
    save_images(tmp_path / "x.npz", craft_images(network, network, load("shapes", test_limit=2).test, fgsm(0.01)))
    for arguments, flag in (
        (["--attacks", "pgd", "--samples", "3"], "--samples averages over random spikes, which no network here has"),
        (["--images", str(tmp_path / "x.npz"), "--seed", "5"], "--seed chooses the random spikes of rate coding"),
    ):
        text, refused = effect("attack", [f"…/{kind}.npz", *arguments])
        assert refused == (kind == "snn") and (not refused or flag in text), text


def test_attacks_refuse_a_gamma_that_changes_nothing(effect, place):
    sentence, refused = effect("attack", ["…/snn.npz", "--attacks", "pgd", "--gamma", "0.7"])
    assert refused and sentence == (
        f"minihire: --gamma multiplies the input gradients of {place}/snn.npz by a constant, which changes nothing in "
        "these attacks: leave it out\n"
    )
    for network in ("resnet", "arctan"):
        assert not effect("attack", [f"…/{network}.npz", "--attacks", "pgd", "--gamma", "0.7"])[1]


def test_bounds_may_be_fractions_of_a_level():
    assert number("0.5/255") == 0.5 / 255 and number("8/255") == 8 / 255 and number("0.03") == 0.03
    assert number("8e-1/255") == 0.8 / 255 and number("1e999999999/255") == math.inf  # at once


def test_gamma_is_a_constant_factor_only_of_networks_with_one_path_and_no_gradient_through_the_reset(place):
    """What the refusal of --gamma says, and that the flags it does not refuse change the gradients' signs."""

    def signs(name, **changes):
        net = checkpoint.load(place / f"{name}.npz").network(REFERENCE)
        net.parameters.update({p: REFERENCE.asarray([0.2]) for p in net.parameters if p.endswith("threshold")})
        net = net.view(neuron=replace(net.neuron, **changes))
        images = REFERENCE.asarray(np.random.default_rng(0).random((2, 32, 32, 3)).astype(np.float32))
        options = {"weights": False, "image": True, "training": False, "scale": 1.0, "keep_state": False}
        grad = net.gradients(images, np.array([1, 2]), draws=Draws(0, 0, 0), **options).image
        assert (grad != 0).any()
        return np.sign(grad)

    other = {"surrogate": triangle(0.6)}
    assert np.array_equal(signs("snn"), signs("snn", **other))
    assert not np.array_equal(signs("snn"), signs("snn", reset_grad=True))
    assert not np.array_equal(signs("snn", reset_grad=True), signs("snn", reset_grad=True, **other))
    assert not np.array_equal(signs("resnet"), signs("resnet", **other))


def test_a_suite_needs_a_bound_above_zero(effect):
    sentence, refused = effect("attack", ["…/snn.npz", "--suite", "strong", "--epsilon", "0"])
    assert refused and sentence == "minihire: a suite needs an attack bound above 0: give one such as --epsilon 8/255\n"


def test_a_suite_takes_further_attacks(effect):
    """Their settings are those of the suite."""
    base = ["…/snn.npz", "--suite", "parity", "--attacks"]
    assert effect("attack", [*base, "noise"]) == effect("attack", [*base, "noise", "--seed", "0"])
    assert not effect("attack", [*base, "noise"])[1]
    assert effect("attack", [*base, "noise"]) != effect("attack", base[:-1])
    sentence, refused = effect("attack", [*base, "nois"])
    assert refused and sentence.startswith("minihire: there is no attack 'nois'")


def test_sources_and_budgets_belong_to_suites(effect):
    for words, sentence in (
        (["--budget", "full"], "--budget needs --suite strong: the other attacks have no budget"),
        (["--budget", "full", "--suite", "parity"], "--budget needs --suite strong: the other attacks have no budget"),
        (
            ["--source", "…/ann.npz", "--source", "…/other-snn.npz"],
            "more than one --source needs --suite: give one, or --suite strong",
        ),
        (
            ["--source", "…/ann.npz", "--suite", "parity"],
            "--source needs --suite strong: --suite parity crafts no images on other networks",
        ),
        (["--suite", "parity", "--images", "…/x.npz"], "--suite does not apply to --images: leave it out"),
    ):
        assert effect("attack", ["…/snn.npz", *words]) == (f"minihire: {sentence}\n", True)
    several = ["--suite", "strong", "--source", "…/ann.npz", "--source", "…/other-snn.npz"]
    (seen, out, _), refused = effect("attack", ["…/snn.npz", *several])
    assert not refused and seen.count("npz") >= 2 and "transfer not run" in out


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in ("fgsm", "pgd")])
def test_every_attack_takes_the_flags_that_it_has(effect, name):
    """An attack without α has its own number of iterations, not the experiment's."""
    seen = {}
    for flags in ([], ["--iterations", "3"], ["--restarts", "2"], ["--queries", "9"], ["--epsilon", "0.25"]):
        (sentence, *_), refused = (lambda found, refused: ((found,) if refused else found, refused))(
            *effect("attack", ["…/snn.npz", "--attacks", name, *flags])
        )
        seen[flags[0] if flags else ""] = None if refused else sentence
    assert "epsilon=0.25" in seen["--epsilon"] and (seen["--queries"] is None) == (name != "square")
    assert (seen["--iterations"] is None) == (name in ("square", "noise"))
    own = {"square": 5000, "noise": 1}.get(name, 7 if name in ("momentum", "pgd-l2") else 100)
    assert f"iterations={own}," in seen[""]


def test_images_are_saved_and_shown_to_another_network(place, capsys, tmp_path):
    """Without replacements: the scores of --save-images are those of --images, and of the attack without it."""
    file, rest = tmp_path / "crafted.npz", ["--backend", "reference", "--quiet", "--json", "-"]
    attack = ["attack", str(place / "snn.npz"), "--attacks", "pgd", "--test-limit", "8", "--epsilon", "0.1", *rest]
    scores = []
    for words in (
        attack,
        [*attack, "--save-images", str(file)],
        ["attack", str(place / "snn.npz"), "--images", str(file), *rest],
        ["attack", str(place / "other-snn.npz"), "--images", str(file), *rest],
    ):
        assert cli.main(words) == 0
        scores.append(json.loads(capsys.readouterr().out)["accuracy"])
    assert scores[0] == {name: scores[1][name] for name in ("clean", "pgd")}
    assert scores[2] == {"images": scores[1]["pgd"], "rounded": scores[1]["pgd, 8 bits"]}
    assert scores[3].keys() == scores[2].keys()


def test_images_that_cannot_be_saved_are_refused_before_the_attack_and_lose_no_scores_after_it(
    place, capsys, tmp_path, monkeypatch
):
    attack = ["attack", str(place / "snn.npz"), "--attacks", "fgsm", "--test-limit", "4", "--backend", "reference"]
    (tmp_path / "file").write_text("a file")
    with monkeypatch.context() as patched:
        patched.setattr("minihire.app.attack.craft_images", None)
        for flag in ("--save-images", "--json"):
            path = tmp_path / "file" / "x.npz"
            assert cli.main([*attack, flag, str(path)]) == 2
            assert capsys.readouterr().err.startswith(f"minihire: cannot write {path}: ")

    def unwritable(*_):
        raise FileError("cannot write x.npz: No space left on device; choose another place or free some space")

    monkeypatch.setattr("minihire.app.attack.save_images", unwritable)
    scores = tmp_path / "x.json"
    assert cli.main([*attack, "--save-images", str(tmp_path / "x.npz"), "--json", str(scores)]) == 2
    out, error = capsys.readouterr()
    assert (
        error.startswith("minihire: cannot write x.npz") and "fgsm, 8 bits" in out and "adversarial images" not in out
    )
    assert json.loads(scores.read_text())["accuracy"].keys() == {"clean", "fgsm", "fgsm, 8 bits"}


def test_a_suite_that_is_stopped_resumes_with_the_same_command(place, capsys, tmp_path, monkeypatch):
    """Without replacements: tables, JSON, and the state beside it, which is deleted at the end."""
    words = ["attack", str(place / "snn.npz"), "--suite", "parity", "--test-limit", "8", "--backend", "reference"]
    words += ["--quiet", "--epsilon", "0.1"]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "pgd-7" in shown and "worst case" in shown and "--suite strong tells" in shown
    file, ended = tmp_path / "scores.json", []
    stopped = [*words, "--json", str(file), "--max-minutes", "1"]
    with monkeypatch.context() as patched:
        patched.setattr("minihire.runtime.interrupt.monotonic", lambda: 100.0 * len(ended))
        patched.setattr("minihire.attacks.suite._report", lambda *_: ended.append(1))
        assert cli.main(stopped) == 3
    assert "the same command resumes it" in capsys.readouterr().err
    assert not file.exists() and (tmp_path / "scores.suite" / "suite.json").exists()
    assert cli.main(stopped) == 0 and [path.name for path in tmp_path.iterdir()] == ["scores.json"]
    capsys.readouterr()
    assert cli.main([*words, "--json", "-"]) == 0
    found, whole = (json.loads(text)["robustness"] for text in (file.read_text(), capsys.readouterr().out))
    assert {**found, "seconds": 0} == {**whole, "seconds": 0}
    assert found["robust"]["count"] == 8 and [row["name"] for row in found["stages"]] == ["fgsm", "pgd-7"]
    assert cli.main(["report", str(file)]) == 0
    assert "Robustness of snn" in file.with_suffix(".html").read_text(encoding="utf-8")


def test_a_suite_prints_its_flags_its_curves_and_the_verdict(place, monkeypatch, capsys):
    found = Robustness("strong", "full", 2 / 255, np.ones(8, bool), np.arange(8) < 3)
    found.flags = [{"name": "gradients vanish", "up": True, "text": "50.0% of the images"}]
    found.curves["steps"] = [{"steps": 1000, **Score(3, 8).as_dict()}]
    found.curves["epsilon"] = [{"epsilon": size / 255, **Score(8 - size, 8).as_dict()} for size in (0, 2, 8)]
    monkeypatch.setattr("minihire.app.robustness.robustness_of", lambda *_: (found, None))
    words = ["attack", str(place / "snn.npz"), "--suite", "strong", "--budget", "full", "--backend", "reference"]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.fullmatch(r"gradients vanish +up +50.0% of the images", line) for line in lines)
    assert [line.split()[:2] for line in lines if re.match(r"(0|2|8|1000)  ", line)] == [
        ["1000", "37.5"],
        ["0", "100.0"],
        ["2", "75.0"],
        ["8", "0.0"],
    ]
    assert lines[-1] == "robustness not established: gradients vanish"


def test_an_example_attack_with_a_surrogate_reports_it(place, effect):
    (seen, out, _), refused = effect("attack", ["…/snn.npz", "--surrogate", "exponential", "--json", "-"])
    assert not refused and json.loads(out)["surrogate"] == ["exponential", 1.0, 1.0]
    assert seen.count("Surrogate(kind='exponential', height=1.0, width=1.0)") == 2  # of FGSM and PGD
    assert (
        effect("attack", ["…/snn.npz", "--surrogate", "triangle:2", "--attacks", "pgd"])[0][0].count("height=0.5") == 1
    )
