"""The cache of networks and measurements: what makes two of them different, and that nothing is made twice."""

import json
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from run_files import weights
from tiny_scale import TINY, edit_note

from minihire.attacks import attack_accuracy, fgsm, pgd
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import Interrupted
from minihire.runtime.progress import Progress
from minihire.study import cache_folder
from minihire.study import study as study_module
from minihire.study.paper import paper_study
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.spec import NetworkSpec

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
    "noise_iterations": 2,
    "craft_surrogate": "arctan",
    "time_division": "1+2",
    "adversarial_epsilon": 0.1,
    "adversarial_iterations": 2,
    "adversarial_alpha": 0.1,
    "adversarial_epochs": 3,
    "freeze": True,
    "epsilon": 0.1,
    "methods": ("hire",),
    "black_box": False,
}
ANN = {"train_limit", "test_limit", "width", "dropout", "coding", "ann_epochs"}
CONVERTED = ANN | {"steps", "reset", "gamma", "scaling_factor"}
TRADITIONAL = CONVERTED | {"snn_epochs", "learning_rate", "freeze"}
PERIODS = {"periods", "time_division"}
ATTACK = {"adversarial_epsilon", "adversarial_iterations", "adversarial_alpha"}
MATTERS = {
    "ann": ANN,
    "converted": CONVERTED,
    "traditional": TRADITIONAL,
    "control": TRADITIONAL | PERIODS,
    "gaussian": TRADITIONAL | PERIODS | {"noise_step"},
    "hire": TRADITIONAL | PERIODS | {"noise_step", "noise_bound", "carry_noise", "noise_iterations", "craft_surrogate"},
    "hire-4x": TRADITIONAL
    | PERIODS
    | {"noise_step", "noise_bound", "carry_noise", "noise_iterations", "craft_surrogate"},
    "adversarial": TRADITIONAL | ATTACK | {"adversarial_epochs"},
    "adversarial-ann": ANN | ATTACK,
}


@pytest.mark.parametrize("method", MATTERS)
def test_a_network_s_key_knows_the_settings_that_it_depends_on_and_no_others(method):
    plain = NetworkSpec(CONFIG, method, 0).describe()
    found = {
        n for n, value in CHANGES.items() if NetworkSpec(replace(CONFIG, **{n: value}), method, 0).describe() != plain
    }
    assert found == MATTERS[method]
    assert NetworkSpec(CONFIG, method, 1).describe() != plain


def test_hire_4x_has_the_key_of_hire_with_four_times_the_noise():
    for bound in (None, 0.02):
        more = replace(CONFIG, noise_step=4 * CONFIG.noise_step, noise_bound=bound and 4 * bound)
        four_times = NetworkSpec(replace(CONFIG, noise_bound=bound), "hire-4x", 3)
        assert four_times.describe() == NetworkSpec(more, "hire", 3).describe()


def test_no_training_depends_on_a_setting_that_the_key_leaves_out():
    """Two recipes are equal wherever two keys are: what UNUSED says is true."""
    for method in MATTERS.keys() - {"converted"}:
        for name, value in CHANGES.items():
            changed = replace(CONFIG, **{name: value})
            if NetworkSpec(changed, method, 0).describe() == NetworkSpec(CONFIG, method, 0).describe():
                ours, theirs = changed.recipe(method), CONFIG.recipe(method)
                assert ours == theirs, (method, name)


@pytest.mark.slow
def test_nothing_is_computed_twice(study, backend, monkeypatch):
    spec = NetworkSpec(CONFIG, "hire", 0)
    first = study.answers(spec, fgsm())
    assert (
        study.store.has(spec)
        and study.store.has(NetworkSpec(CONFIG, "ann", 0))
        and first.dtype == bool
        and len(first) == 30
    )
    for module, name in (
        (study_module, "train"),
        (study_module, "converted_snn"),
        (study_module, "attacked_predictions"),
    ):
        monkeypatch.setattr(module, name, None)
    again = PaperStudy(TINY, backend, study.out)
    assert np.array_equal(again.answers(spec, fgsm()), first)
    changed = replace(CONFIG, epsilon=0.5, methods=("hire",), data_dir="elsewhere")
    assert again.network(NetworkSpec(changed, "hire", 0)).spiking  # the same network


@pytest.mark.slow
def test_another_attack_source_or_number_of_images_is_another_measurement(study):
    spec = NetworkSpec(CONFIG, "ann", 0)
    assert len(study.answers(spec, images=7)) == 7
    study.answers(spec)
    study.answers(spec, fgsm())
    study.answers(spec, pgd(iterations=2))
    study.answers(spec, fgsm(), study.other(spec))
    assert len(list((study.store.folder / "measured").glob("*.json"))) == 5


@pytest.mark.slow
def test_a_network_is_what_minihire_run_would_have_trained(study, backend, tmp_path):
    from minihire.study.run import Run

    run = Run(replace(CONFIG, methods=("hire",), black_box=False), backend, tmp_path / "run", study.splits(CONFIG))
    theirs = run.study.network(NetworkSpec(run.config, "hire", 0))
    ours = study.network(NetworkSpec(CONFIG, "hire", 0))
    for name, array in theirs.parameters.items():
        assert np.array_equal(backend.to_numpy(array), backend.to_numpy(ours.parameters[name])), name


@pytest.mark.slow
def test_black_box_images_come_from_the_next_seed(backend, tmp_path):
    assert PaperStudy(TINY, backend, tmp_path).other(NetworkSpec(CONFIG, "hire", 0)).seed == 1
    three = PaperStudy(TINY, backend, tmp_path, seeds=3)
    assert [three.other(NetworkSpec(CONFIG, "hire", seed)).seed for seed in range(3)] == [1, 2, 0]


@pytest.mark.slow
def test_noise_of_size_zero_is_no_noise(study):
    spec = NetworkSpec(CONFIG, "ann", 0)
    clean, noisy = study.answers(spec, images=12), study.answers_to_noise(spec, 0.0, 12)
    assert np.array_equal(clean, noisy)
    assert study.answers_to_noise(spec, 0.5, 12).sum() <= clean.sum() + 3


def test_a_damaged_measurement_is_one_sentence(study):
    spec = NetworkSpec(CONFIG, "ann", 0)
    study.answers(spec, images=5)
    (path,) = (study.store.folder / "measured").glob("*.json")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(MinihireError, match="is damaged: delete it, and it is measured again"):
        study.answers(spec, images=5)


@pytest.mark.slow
def test_seconds_count_each_thing_once(study):
    spec = NetworkSpec(CONFIG, "hire", 0)
    study.answers(spec)
    total = study.store.seconds()
    files = [*study.store.folder.glob("models/*.done"), *study.store.folder.glob("measured/*")]
    notes = [json.loads(p.read_text(encoding="utf-8"))["seconds"] for p in files]
    assert len(notes) == 4 and sum(notes) == pytest.approx(total)  # ANN, conversion, HIRE, answers
    study.answers(spec)
    assert study.store.seconds() == total


@pytest.mark.slow
def test_time_of_interrupted_work_counts_too(study, backend, monkeypatch):
    spec, clock = NetworkSpec(CONFIG, "ann", 0), iter(range(0, 1000, 100))
    monkeypatch.setattr(cache_folder.time, "perf_counter", lambda: next(clock))

    def interrupted(network, recipe, data, path, **_):
        study_module.checkpoint.save(path, network)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(study_module, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            study.network(spec)
    study.store.checkpoint(spec).unlink()
    again = PaperStudy(TINY, backend, study.out)
    again.network(spec)
    assert again.store.seconds() == 200 and not list(study.store.folder.glob("models/*.spent"))


@pytest.mark.slow
def test_seconds_of_what_was_found_are_not_taken_off(study, backend):
    study.network(NetworkSpec(CONFIG, "converted", 0))
    for path in study.store.folder.glob("models/*.done"):
        edit_note(path, seconds=5000)
    again, spec = PaperStudy(TINY, backend, study.out), NetworkSpec(CONFIG, "hire", 0)
    again.network(spec)
    assert again.store.used[again.store.checkpoint(spec).with_suffix(".done")] > 0 and again.store.seconds() > 10_000


@pytest.mark.slow
def test_a_damaged_network_is_one_sentence_and_a_missing_one_is_trained_again(study, backend):
    spec = NetworkSpec(CONFIG, "ann", 0)
    study.network(spec)
    path = study.store.checkpoint(spec)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(MinihireError, match=f"{path.name} cannot be used .*: if it is damaged, delete it"):
        PaperStudy(TINY, backend, study.out).network(spec)
    path.unlink()
    PaperStudy(TINY, backend, study.out).network(spec)
    assert path.read_bytes()
    path.with_suffix(".done").write_text("{", encoding="utf-8")
    with pytest.raises(MinihireError, match=f"done is damaged: delete it, and {path.name} too"):
        PaperStudy(TINY, backend, study.out).network(spec)


def test_a_network_that_was_trained_again_is_measured_again(study, backend, monkeypatch):
    """On another machine the same training gives other weights. What was made or measured with the earlier ones is made again."""
    ann, snn = (NetworkSpec(CONFIG, method, 0) for method in ("ann", "converted"))
    study.answers(snn), study.answers(ann)
    predicted, predictions, new_ann = [], study_module.predictions, study_module.new_ann
    monkeypatch.setattr(study_module, "predictions", lambda *a, **o: predicted.append(1) or predictions(*a, **o))
    for seed, again in ((0, 0), (7, 2)):
        monkeypatch.setattr(study_module, "new_ann", lambda *a, seed=seed: new_ann(*a[:-1], seed))
        study.store.checkpoint(ann).unlink()
        other = PaperStudy(TINY, backend, study.out)
        other.network(ann)
        other.answers(ann), other.answers(snn)
        assert len(predicted) == again
    assert study.store.has(snn)


def in_an_earlier_version(folder):
    """Remove from the notes of a cache what earlier versions did not write."""
    for path in (*folder.glob("models/*.done"), *folder.glob("measured/*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for name in ("weights", "start", "checksum"):
            content.pop(name, None)
        path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("earlier", [False, True])
def test_a_trained_snn_is_trained_again_from_an_ann_that_was_trained_again(study, backend, monkeypatch, earlier):
    ann, hire = (NetworkSpec(CONFIG, method, 0) for method in ("ann", "hire"))
    study.answers(hire, fgsm())
    before = weights(study.store.checkpoint(hire))
    if earlier:
        in_an_earlier_version(study.store.folder)
    trained, train, new_ann = [], study_module.train, study_module.new_ann
    monkeypatch.setattr(study_module, "train", lambda *a, **o: trained.append(o["label"]) or train(*a, **o))
    monkeypatch.setattr(study_module, "new_ann", lambda *a: new_ann(*a[:-1], 7))
    study.store.checkpoint(ann).unlink()
    other = PaperStudy(TINY, backend, study.out)
    other.network(ann)
    assert not other.store.has(hire)
    right = other.answers(hire, fgsm())
    assert trained == ["ann, seed 0", "hire, seed 0", "hire, seed 0"]  # the first checkpoint of HIRE is refused
    assert weights(study.store.checkpoint(hire)) != before
    afresh = PaperStudy(TINY, backend, study.out / "afresh")
    assert np.array_equal(afresh.answers(hire, fgsm()), right)
    assert weights(afresh.store.checkpoint(hire)) == weights(study.store.checkpoint(hire))


def test_an_interrupted_retraining_resumes(study, backend, monkeypatch):
    spec, batches, add = NetworkSpec(CONFIG, "ann", 0), [], Progress.add
    study.network(spec)
    path, before = study.store.checkpoint(spec), weights(study.store.checkpoint(spec))
    path.unlink()

    def stop_at_the_second_batch(*arguments):
        batches.append(1)
        if len(batches) == 2:
            signal.raise_signal(signal.SIGINT)
        add(*arguments)

    monkeypatch.setattr(Progress, "add", stop_at_the_second_batch)
    with pytest.raises(Interrupted):
        PaperStudy(TINY, backend, study.out).network(spec)
    assert path.exists() and weights(path) != before
    again = PaperStudy(TINY, backend, study.out)
    assert not again.store.has(spec)
    again.network(spec)
    assert again.store.has(spec) and weights(path) == before and len(batches) == 10  # two epochs of five batches


def test_a_network_that_was_exchanged_is_refused(study, backend):
    first, second = (NetworkSpec(CONFIG, "ann", seed) for seed in (0, 1))
    for spec in (first, second):
        study.network(spec)
    shutil.copy(study.store.checkpoint(second), study.store.checkpoint(first))
    with pytest.raises(MinihireError, match="is not the network that was trained here: put its own file back, or"):
        PaperStudy(TINY, backend, study.out).network(first)


def test_an_older_measurement_of_a_network_that_was_trained_again_is_made_again(study, backend, monkeypatch):
    """Earlier versions did not note weights: a network with a note of its weights is newer."""
    ann, snn = (NetworkSpec(CONFIG, method, 0) for method in ("ann", "converted"))
    study.answers(ann), study.answers(snn)
    in_an_earlier_version(study.store.folder)
    new_ann = study_module.new_ann
    monkeypatch.setattr(study_module, "new_ann", lambda *a: new_ann(*a[:-1], 7))
    study.store.checkpoint(ann).unlink()
    again = PaperStudy(TINY, backend, study.out)
    again.network(ann)
    afresh = PaperStudy(TINY, backend, study.out / "afresh")
    for spec in (ann, snn):
        assert np.array_equal(again.answers(spec), afresh.answers(spec))
        assert weights(again.store.checkpoint(spec)) == weights(afresh.store.checkpoint(spec))


def test_answers_that_an_interrupted_attack_on_an_earlier_network_left_are_replaced(study, backend):
    first, second = (NetworkSpec(CONFIG, "ann", seed) for seed in (0, 1))
    right, test = study.answers(first, fgsm()), study.splits(CONFIG).test
    (measured,) = study.store.folder.glob("measured/*.json")
    measured.unlink()
    left = measured.with_suffix(".npz")
    attack_accuracy(study.network(second), test, fgsm(), path=left, keep=True)
    assert np.array_equal(study.answers(first, fgsm()), right) and not left.exists()


def test_networks_and_measurements_of_an_earlier_version_are_used(study, backend, monkeypatch):
    ann, snn = (NetworkSpec(CONFIG, method, 0) for method in ("ann", "converted"))
    right = study.answers(snn)
    in_an_earlier_version(study.store.folder)
    for name in ("train", "converted_snn", "predictions"):
        monkeypatch.setattr(study_module, name, None)
    again = PaperStudy(TINY, backend, study.out)
    assert np.array_equal(again.answers(snn), right) and again.network(snn).spiking and not again.network(ann).spiking


def test_a_changed_digit_of_a_measurement_is_noticed(study, monkeypatch):
    """Files of earlier versions have no checksum: only values of another form are noticed in them."""
    spec = NetworkSpec(CONFIG, "ann", 0)
    right = study.answers(spec)
    (path,) = (study.store.folder / "measured").glob("*.json")
    text = path.read_text(encoding="utf-8")
    value = json.loads(text)["value"]
    flipped = value["bits"][:-1] + f"{int(value['bits'][-1], 16) ^ 8:x}"
    path.write_text(text.replace(value["bits"], flipped), encoding="utf-8")
    with pytest.raises(MinihireError, match="is damaged: delete it, and it is measured again"):
        study.answers(spec)
    for damaged in (
        {"count": 30},
        {"count": 30, "bits": "zz"},
        {**value, "bits": "ff"},
        {**value, "count": 29},
        3,
        None,
    ):
        edit_note(path, value=damaged)
        with pytest.raises(MinihireError, match="is damaged: delete it, and it is measured again"):
            study.answers(spec)
    edit_note(path, value=value)
    monkeypatch.setattr(study_module, "predictions", None)
    assert np.array_equal(study.answers(spec), right)


def test_answers_of_an_attack_are_kept_until_they_are_noted(study, monkeypatch):
    spec = NetworkSpec(CONFIG, "ann", 0)
    study.network(spec)
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(cache_folder.notes, "write", lambda *_: (_ for _ in ()).throw(SystemExit))
        study.answers(spec, fgsm())
    monkeypatch.setattr(Progress, "add", None)  # no batch is attacked again
    assert len(study.answers(spec, fgsm())) == 30
    assert [path.suffix for path in (study.store.folder / "measured").iterdir()] == [".json"]


def test_a_measurement_of_something_else_is_damaged(study):
    spec = NetworkSpec(CONFIG, "ann", 0)
    study.answers(spec, images=5)
    study.answers(spec, images=6)
    five, six = sorted(
        (study.store.folder / "measured").glob("*.json"), key=lambda p: '"images": 6' in p.read_text("utf-8")
    )
    five.write_bytes(six.read_bytes())
    with pytest.raises(MinihireError, match="is damaged: delete it, and it is measured again"):
        study.answers(spec, images=5)


@pytest.mark.slow
def test_a_cache_is_of_one_data_set_s_images(study, backend, monkeypatch):
    study.answers(NetworkSpec(CONFIG, "ann", 0))
    splits = study.splits(CONFIG)
    other = replace(splits.test, labels=splits.test.labels[::-1].copy())
    monkeypatch.setattr(paper_study, "load_data", lambda *_: replace(splits, test=other))
    with pytest.raises(MinihireError, match="holds results of other images of shapes"):
        PaperStudy(TINY, backend, study.out).answers(NetworkSpec(CONFIG, "ann", 0))


@pytest.mark.slow
def test_products_of_another_precision_are_other_results(study, monkeypatch):
    spec = NetworkSpec(CONFIG, "ann", 0)
    before, measured = study.store.checkpoint(spec), study.store.measurement({"x": 1})
    monkeypatch.setattr(study.backend, "precision", "bf16")
    assert (
        study.store.checkpoint(spec) != before
        and study.store.measurement({"x": 1}) != measured
        and study.store.maker().endswith("bf16")
    )
