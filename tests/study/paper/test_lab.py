"""The cache of networks and measurements: what makes two of them different, and that nothing is made twice."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_scale import TINY

from minihire.attacks import fgsm, pgd
from minihire.runtime.errors import MinihireError
from minihire.study.paper import lab as module
from minihire.study.paper.lab import Lab
from minihire.study.paper.subject import Subject

CONFIG = TINY.settings[0]
CHANGES = {
    "train_limit": 50,
    "test_limit": 20,
    "width": 0.2,
    "dropout": 0.1,
    "steps": 3,
    "coding": "rate",
    "reset": "delayed",
    "gamma": 0.5,
    "time_chunk": 1,
    "ann_epochs": 3,
    "scaling_factor": 0.4,
    "snn_epochs": 2,
    "learning_rate": 1e-2,
    "periods": 1,
    "noise_step": 0.02,
    "noise_bound": 0.03,
    "carry_noise": False,
    "freeze": True,
    "epsilon": 0.1,
    "methods": ("hire",),
    "black_box": False,
}
ANN = {"train_limit", "test_limit", "width", "dropout", "coding", "ann_epochs"}
CONVERTED = ANN | {"steps", "reset", "gamma", "scaling_factor"}
TRADITIONAL = CONVERTED | {"snn_epochs", "learning_rate", "freeze"}
MATTERS = {
    "ann": ANN,
    "converted": CONVERTED,
    "traditional": TRADITIONAL,
    "control": TRADITIONAL | {"periods"},
    "gaussian": TRADITIONAL | {"periods", "noise_step"},
    "hire": TRADITIONAL | {"periods", "noise_step", "noise_bound", "carry_noise"},
}


@pytest.mark.parametrize("method", MATTERS)
def test_a_network_s_key_knows_the_settings_that_it_depends_on_and_no_others(method):
    plain = Subject(CONFIG, method, 0).describe()
    found = {n for n, value in CHANGES.items() if Subject(replace(CONFIG, **{n: value}), method, 0).describe() != plain}
    assert found == MATTERS[method]
    assert Subject(CONFIG, method, 1).describe() != plain


def test_no_training_depends_on_a_setting_that_the_key_leaves_out():
    """Two recipes are equal wherever two keys are: what UNUSED says is true."""
    for method in MATTERS.keys() - {"converted"}:
        for name, value in CHANGES.items():
            changed = replace(CONFIG, **{name: value})
            if Subject(changed, method, 0).describe() == Subject(CONFIG, method, 0).describe():
                ours, theirs = changed.recipe(method), CONFIG.recipe(method)
                assert ours == theirs, (method, name)


def test_nothing_is_made_twice(lab, backend, monkeypatch):
    subject = Subject(CONFIG, "hire", 0)
    first = lab.answers(subject, fgsm())
    assert lab.has(subject) and lab.has(Subject(CONFIG, "ann", 0)) and first.dtype == bool and len(first) == 30
    for name in ("train", "convert", "attack_accuracy"):
        monkeypatch.setattr(module, name, None)
    again = Lab(TINY, backend, lab.folder.parent)
    assert np.array_equal(again.answers(subject, fgsm()), first)
    changed = replace(CONFIG, epsilon=0.5, methods=("hire",), data_dir="elsewhere")
    assert again.network(Subject(changed, "hire", 0)).spiking  # the same network


def test_another_attack_source_or_number_of_images_is_another_measurement(lab):
    subject = Subject(CONFIG, "ann", 0)
    assert len(lab.answers(subject, images=7)) == 7
    lab.answers(subject)
    lab.answers(subject, fgsm())
    lab.answers(subject, pgd(iterations=2))
    lab.answers(subject, fgsm(), lab.other(subject))
    assert len(list((lab.folder / "measured").glob("*.json"))) == 5


def test_a_network_is_what_minihire_run_would_have_trained(lab, backend, tmp_path):
    from minihire.study.run import Run

    run = Run(replace(CONFIG, methods=("hire",), black_box=False), backend, tmp_path / "run", lab.splits(CONFIG))
    theirs = run.train_all(0, "")["hire"]
    ours = lab.network(Subject(CONFIG, "hire", 0))
    for name, array in theirs.parameters.items():
        assert np.array_equal(backend.to_numpy(array), backend.to_numpy(ours.parameters[name])), name


def test_black_box_images_come_from_the_next_seed(backend, tmp_path):
    assert Lab(TINY, backend, tmp_path).other(Subject(CONFIG, "hire", 0)).seed == 1
    three = Lab(TINY, backend, tmp_path, seeds=3)
    assert [three.other(Subject(CONFIG, "hire", seed)).seed for seed in range(3)] == [1, 2, 0]


def test_noise_of_size_zero_is_no_noise(lab):
    subject = Subject(CONFIG, "ann", 0)
    clean, noisy = lab.answers(subject, images=12), lab.answers_to_noise(subject, 0.0, 12)
    assert np.array_equal(clean, noisy)
    assert lab.answers_to_noise(subject, 0.5, 12).sum() <= clean.sum() + 3


def test_a_damaged_measurement_is_one_sentence(lab):
    subject = Subject(CONFIG, "ann", 0)
    lab.answers(subject, images=5)
    (path,) = (lab.folder / "measured").glob("*.json")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(MinihireError, match="is damaged: delete it, and it is measured again"):
        lab.answers(subject, images=5)


def test_seconds_count_each_thing_once(lab):
    subject = Subject(CONFIG, "hire", 0)
    lab.answers(subject)
    total = lab.seconds()
    files = [*lab.folder.glob("models/*.done"), *lab.folder.glob("measured/*")]
    notes = [json.loads(p.read_text(encoding="utf-8"))["seconds"] for p in files]
    assert len(notes) == 4 and sum(notes) == pytest.approx(total)  # ANN, conversion, HIRE, answers
    lab.answers(subject)
    assert lab.seconds() == total


def test_what_was_broken_off_counts_too(lab, backend, monkeypatch):
    subject, clock = Subject(CONFIG, "ann", 0), iter(range(0, 1000, 100))
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))

    def broken_off(network, recipe, data, path, **_):
        module.checkpoint.save(path, network)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "train", broken_off)
        with pytest.raises(KeyboardInterrupt):
            lab.network(subject)
    lab.path(subject).unlink()
    again = Lab(TINY, backend, lab.folder.parent)
    again.network(subject)
    assert again.seconds() == 200 and not list(lab.folder.glob("models/*.spent"))


def test_seconds_of_what_was_found_are_not_taken_off(lab, backend):
    lab.network(Subject(CONFIG, "converted", 0))
    for path in lab.folder.glob("models/*.done"):
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "seconds": 5000}), encoding="utf-8")
    again, subject = Lab(TINY, backend, lab.folder.parent), Subject(CONFIG, "hire", 0)
    again.network(subject)
    assert again.used[again.path(subject).with_suffix(".done")] > 0 and again.seconds() > 10_000


def test_a_damaged_network_is_one_sentence_and_a_missing_one_is_trained_again(lab, backend):
    subject = Subject(CONFIG, "ann", 0)
    lab.network(subject)
    path = lab.path(subject)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(MinihireError, match=f"{path.name} is damaged: delete it, and it is trained again"):
        Lab(TINY, backend, lab.folder.parent).network(subject)
    path.unlink()
    Lab(TINY, backend, lab.folder.parent).network(subject)
    assert path.read_bytes()
    path.with_suffix(".done").write_text("{", encoding="utf-8")
    with pytest.raises(MinihireError, match=f"done is damaged: delete it, and {path.name} too"):
        Lab(TINY, backend, lab.folder.parent).network(subject)


def test_a_measurement_of_something_else_is_damaged(lab):
    subject = Subject(CONFIG, "ann", 0)
    lab.answers(subject, images=5)
    lab.answers(subject, images=6)
    five, six = sorted((lab.folder / "measured").glob("*.json"), key=lambda p: '"images": 6' in p.read_text("utf-8"))
    five.write_bytes(six.read_bytes())
    with pytest.raises(MinihireError, match="is damaged: delete it, and it is measured again"):
        lab.answers(subject, images=5)


def test_a_cache_is_of_one_data_set_s_images(lab, backend, monkeypatch):
    lab.answers(Subject(CONFIG, "ann", 0))
    splits = lab.splits(CONFIG)
    other = replace(splits.test, labels=splits.test.labels[::-1].copy())
    monkeypatch.setattr(module, "load_data", lambda *_: replace(splits, test=other))
    with pytest.raises(MinihireError, match="holds results of other images of shapes"):
        Lab(TINY, backend, lab.folder.parent).answers(Subject(CONFIG, "ann", 0))


def test_products_of_another_precision_are_other_results(lab, monkeypatch):
    subject = Subject(CONFIG, "ann", 0)
    before, measured = lab.path(subject), lab.measurement({"x": 1})
    monkeypatch.setattr(lab.backend, "precision", "bf16")
    assert lab.path(subject) != before and lab.measurement({"x": 1}) != measured and lab.maker().endswith("bf16")
