"""The presets are the paper's, and every setting outside its range is refused by flag, value and range."""

import argparse
import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest

from backends.surrogates import arctan
from minihire.app.flags import CONFIG_FIELDS, Parser, add_settings, given_settings
from minihire.models import MODELS, build
from minihire.runtime.errors import MinihireError
from minihire.study.settings import DATA, METHODS, PRESETS, Config, as_flag, preset
from minihire.training import Adversarial, CraftedNoise, GaussianNoise, NoNoise, training_attack

PAPER = {  # data, T, ε_s = ε_t: section 4
    "vgg5-cifar10": ("cifar10", "vgg5", 6, 0.013),
    "vgg11-cifar100": ("cifar100", "vgg11", 8, 0.025),
    "resnet12-cifar10": ("cifar10", "resnet12", 10, 0.008),
    "resnet12-cifar100": ("cifar100", "resnet12", 10, 0.015),
}
BOUNDED = [f for f in CONFIG_FIELDS if any(f.metadata[key] is not None for key in ("low", "high", "above"))]
CHOSEN = [f for f in CONFIG_FIELDS if f.metadata["choices"]]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("epsilon", 8 / 255, "--epsilon 8/255"),
        ("epsilon", 0.0, "--epsilon 0.0"),
        ("noise_step", 0.013, "--noise-step 0.013"),
        ("learning_rate", 0.2, "--learning-rate 0.2"),
        ("methods", ["hire", "control"], "--methods hire,control"),
        ("hidden", None, "no --hidden"),
        ("augment", True, "--augment"),
        ("carry_noise", False, "--no-carry-noise"),
    ],
)
def test_a_setting_is_shown_as_its_flag(name, value, shown):
    assert as_flag(name, value) == shown


def make(**changes):
    """A configuration with one period, so that any number of time steps fits."""
    return Config(**{"periods": 1, **changes})


def flag(f):
    return f"--{f.name.replace('_', '-')}"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_configuration_with_a_network(name):
    config = preset(name)
    shape, classes = (
        ((28, 28, 1), 10) if config.data == "mnist" else ((32, 32, 3), 100 if config.data == "cifar100" else 10)
    )
    model = build(config.model, classes, shape, width=config.width, hidden=config.hidden)
    assert config.preset == name and model.parameters(True)


@pytest.mark.parametrize("name", PAPER)
def test_presets_have_the_paper_s_settings(name):
    config = preset(name)
    assert (config.data, config.model, config.steps, config.noise_step) == PAPER[name]
    assert config.steps == MODELS[config.model].steps
    assert (config.width, config.hidden, config.heldout, config.train_limit, config.test_limit) == (
        1.0,
        None,
        0,
        None,
        None,
    )
    assert (config.ann_epochs, config.ann_batch_size, config.ann_learning_rate, config.ann_schedule) == (
        240,
        128,
        0.01,
        "step",
    )
    assert (config.snn_epochs, config.batch_size, config.learning_rate, config.snn_schedule) == (30, 32, 1e-4, "step")
    assert (config.periods, config.gamma, config.dropout, config.coding, config.optimiser) == (
        2,
        0.3,
        0.2,
        "direct",
        "adam",
    )
    assert (config.calibration_images, config.calibration_steps, config.calibration.percentile) == (512, 100, 99.7)
    assert (config.epsilon, config.alpha, config.iterations, config.random_start) == (8 / 255, 0.01, 7, True)


@pytest.mark.parametrize("name", ["vgg5-cifar10", "resnet12-cifar10", "vgg11-cifar100"])
def test_presets_for_two_cores_differ_from_the_paper_s_in_schedules_methods_and_black_box_only(name):
    short, paper = preset(f"{name}-2core").describe(), preset(name).describe()
    schedules = {"ann_epochs", "ann_batch_size", "ann_learning_rate", "ann_schedule"}
    schedules |= {"snn_epochs", "learning_rate", "snn_schedule"}
    differing = {key for key in short if short[key] != paper[key]}
    assert differing | {"ann_batch_size"} == schedules | {"preset", "methods", "black_box"}
    assert short["ann_schedule"] == short["snn_schedule"] == "one-cycle" and not short["black_box"]
    assert short["methods"] == ["traditional", "control", "gaussian", "hire"]
    assert short["ann_epochs"] < paper["ann_epochs"] and short["snn_epochs"] < paper["snn_epochs"]


@pytest.mark.parametrize("f", BOUNDED, ids=lambda f: f.name)
def test_a_value_outside_its_range_is_named_with_flag_and_range(f):
    low, high, above = (f.metadata[key] for key in ("low", "high", "above"))
    wrong = [
        value
        for value in (None if low is None else low - 1, above, None if high is None else high + 1)
        if value is not None
    ]
    assert wrong
    for value in wrong:
        with pytest.raises(MinihireError) as caught:
            make(**{f.name: value})
        sentence = str(caught.value)
        assert (
            sentence.startswith(f"{flag(f)} must be ") and sentence.endswith(f", not {value}") and "\n" not in sentence
        )
        assert all(str(bound) in sentence for bound in (low, high, above) if bound is not None)


@pytest.mark.parametrize("f", BOUNDED, ids=lambda f: f.name)
def test_the_ends_of_a_range_are_allowed(f):
    ends = [f.metadata[key] for key in ("low", "high") if f.metadata[key] is not None]
    assert all(getattr(make(**{f.name: end}), f.name) == end for end in ends)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("f", [f for f in BOUNDED if "float" in str(f.type)], ids=lambda f: f.name)
def test_values_that_are_no_numbers_are_refused(f, value):
    with pytest.raises(MinihireError, match=f"{flag(f)} must be .*, not {value}"):
        make(**{f.name: value})


@pytest.mark.parametrize("f", CHOSEN, ids=lambda f: f.name)
def test_an_unknown_choice_is_named_beside_the_known_ones(f):
    with pytest.raises(MinihireError) as caught:
        make(**{f.name: ("magic",) if f.name == "methods" else "magic"})
    assert str(caught.value).startswith(f"{flag(f)} must be ") and str(caught.value).endswith("not 'magic'")
    assert all(choice in str(caught.value) for choice in f.metadata["choices"])


@pytest.mark.parametrize("f", CHOSEN, ids=lambda f: f.name)
def test_every_choice_is_allowed(f):
    for choice in f.metadata["choices"]:
        value = (choice,) if f.name == "methods" else choice
        assert getattr(make(**{f.name: value}), f.name) == value


def test_an_enormous_number_is_refused():
    with pytest.raises(MinihireError, match="--seed must be in 0 "):
        make(seed=10**400)


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 2.5), ("steps", "six"), ("steps", None), ("epsilon", "abc"), ("augment", "yes"), ("methods", "hire")],
)
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(MinihireError, match=f"--{name.replace('_', '-')} "):
        make(**{name: value})


def test_more_periods_than_steps_are_refused():
    with pytest.raises(
        MinihireError, match="--periods N must be at most --steps T: 7 periods do not fit into 6 time steps"
    ):
        Config(steps=6, periods=7)


def test_no_method_at_all_is_refused():
    with pytest.raises(MinihireError, match="--methods needs at least one of"):
        Config(methods=())


def test_an_unknown_preset_is_refused():
    with pytest.raises(MinihireError, match="there is no preset 'maxi': choose mini, "):
        preset("maxi")


def test_a_preset_takes_changes():
    assert preset("vgg5-cifar10", steps=9) == dataclasses.replace(preset("vgg5-cifar10"), steps=9)


def test_a_configuration_survives_json():
    config = preset("mini", methods=METHODS, noise_bound=0.02, hidden=None)
    saved = json.loads(json.dumps(config.describe()))
    assert Config(**{**saved, "methods": tuple(saved["methods"])}) == config


def test_methods_differ_in_noise_and_periods_alone():
    config = Config(noise_step=0.02, noise_bound=0.05, periods=3)
    noise = {
        "traditional": NoNoise(),
        "control": NoNoise(),
        "gaussian": GaussianNoise(0.02),
        "hire": CraftedNoise(0.02, 0.05),
        "adversarial": Adversarial(training_attack(8 / 255, 7)),
    }
    for method, rule in noise.items():
        recipe = config.recipe(method)
        assert (recipe.noise, recipe.periods) == (rule, 1 if method in ("traditional", "adversarial") else 3)
        assert dataclasses.replace(recipe, noise=NoNoise(), periods=1) == config.recipe("traditional")


def test_hire_4x_is_hire_with_four_times_the_noise_but_at_most_1():
    assert Config(noise_step=0.02).recipe("hire-4x") == Config(noise_step=0.08).recipe("hire")
    wide = Config(noise_step=0.02, noise_bound=0.03, noise_iterations=2)
    assert wide.recipe("hire-4x") == replace(wide, noise_step=0.08, noise_bound=0.12).recipe("hire")
    assert Config(noise_step=0.3, noise_bound=0.4).recipe("hire-4x").noise == CraftedNoise(1.0, 1.0)


def test_the_noise_bound_is_the_noise_step_unless_given():
    assert Config(noise_step=0.02).recipe("hire").noise == CraftedNoise(0.02, 0.02)
    assert Config(noise_step=0.02, noise_bound=0.0).recipe("hire").noise == CraftedNoise(0.02, 0.0)


def test_the_settings_of_crafting_reach_the_recipe():
    config = Config(noise_iterations=3, craft_surrogate="arctan:2", periods=3, time_division="3+2+1")
    recipe = config.recipe("hire")
    assert recipe.noise == CraftedNoise(0.013, 0.013, iterations=3, surrogate=arctan(2.0))
    assert recipe.period_steps == (3, 2, 1) == config.recipe("control").period_steps
    assert config.recipe("traditional").period_steps is None is config.recipe("adversarial").period_steps


def test_adversarial_training_has_an_attack_and_epochs_of_its_own():
    config = Config(adversarial_epsilon=0.1, adversarial_iterations=1, adversarial_epochs=4, snn_epochs=9, ann_epochs=8)
    snn, ann = config.recipe("adversarial"), config.recipe("adversarial-ann")
    assert snn.noise == ann.noise == Adversarial(training_attack(0.1, 1))
    assert (snn.epochs, ann.epochs, config.recipe("hire").epochs) == (4, 8, 9)
    assert dataclasses.replace(ann, noise=NoNoise()) == config.recipe("ann")
    own = dataclasses.replace(config, adversarial_alpha=0.02, adversarial_epochs=None).recipe("adversarial")
    assert (own.noise.attack.alpha, own.epochs) == (0.02, 9)


@pytest.mark.parametrize(
    "text", ["", "4", "4+", "+4+2", "4+0", "4+-2", "4+2.0", "4,2", "4 + 2", "4+²", "4+99999", "4+1+1"]
)
def test_a_time_division_that_is_not_n_numbers_is_refused(text):
    with pytest.raises(MinihireError, match="--time-division "):
        Config(periods=2, time_division=text)


def test_ann_recipe_is_the_paper_s():
    recipe = Config().recipe("ann")
    assert (recipe.optimiser, recipe.momentum, recipe.weight_decay, recipe.schedule.factor) == ("sgd", 0.9, 5e-4, 0.1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("freeze", True),
        ("carry_membranes", True),
        ("clip_noise", False),
        ("craft_after_update", True),
        ("augment", False),
        ("optimiser", "amsgrad"),
        ("snn_epochs", 3),
        ("batch_size", 7),
        ("learning_rate", 0.5),
    ],
)
def test_settings_reach_the_recipe(option, value):
    name = {"snn_epochs": "epochs"}.get(option, option)
    assert getattr(Config(**{option: value}).recipe("hire"), name) == value


def example(f):
    """(text on the command line, value in the configuration) of a setting, other than its default."""
    if f.name == "methods":
        return "gaussian, control", ("gaussian", "control")
    if f.name in ("craft_surrogate", "time_division"):
        return ({"craft_surrogate": "arctan:2", "time_division": "9"}[f.name],) * 2
    if f.metadata["choices"]:
        return (list(f.metadata["choices"])[-1],) * 2
    if "float" in str(f.type):
        return "1/4", 0.25
    return ("9", 9) if "int" in str(f.type) else ("somewhere", "somewhere")


@pytest.mark.parametrize("f", CONFIG_FIELDS, ids=lambda f: f.name)
def test_every_setting_has_a_flag(f):
    parser = Parser("x")
    add_settings(parser, [f.name for f in CONFIG_FIELDS])
    assert given_settings(parser.parse_args([])) == {}
    if f.type in (bool, "bool"):
        texts = {flag(f): True, flag(f).replace("--", "--no-", 1): False}
        assert [given_settings(parser.parse_args([text])) for text in texts] == [
            {f.name: value} for value in texts.values()
        ]
    else:
        text, value = example(f)
        given = given_settings(parser.parse_args([flag(f), text]))
        assert given == {f.name: value} and getattr(make(**{"steps": 9, **given}), f.name) == value


@pytest.mark.parametrize("text", ["abc", "1/0", "1/", "", "8/255/1", f"{10**400}/1"], ids=lambda text: text[:9])
def test_texts_that_are_no_numbers_are_refused(text):
    parser = Parser("x")
    add_settings(parser, [f.name for f in CONFIG_FIELDS])
    with pytest.raises(MinihireError, match="--epsilon: .*is not a number"):
        parser.parse_args(["--epsilon", text])


def test_known_data_sets_are_those_that_can_be_loaded():
    from minihire.data import NAMES

    assert set(DATA) == set(NAMES)


def test_given_settings_ignore_what_is_not_a_setting():
    assert given_settings(argparse.Namespace(steps=3, threads=2)) == {"steps": 3}


def test_a_method_named_twice_is_refused():
    with pytest.raises(MinihireError, match="--methods names a method twice"):
        preset("mini", methods=("hire", "hire"))


def test_rate_coding_trains_its_ann_without_normalisation():
    from minihire.data import Dataset
    from minihire.study.networks import build_model

    data = Dataset(
        "tiny", np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.int64), ("a", "b"), (0.4,) * 3, (0.2,) * 3
    )
    assert build_model(preset("mini", coding="rate"), data).std == (1.0,) * 3
    assert build_model(preset("mini"), data).mean == (0.4,) * 3
