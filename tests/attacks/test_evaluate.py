"""White-box and black-box accuracy: which network the images are crafted on, and which networks classify them."""

import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest

from backends import get_backend
from backends.randomness import Draws
from minihire.analysis.accuracy import accuracy, predict, predictions
from minihire.app.modules import load_module
from minihire.attacks import (
    Attack,
    attack_accuracy,
    attacked_predictions,
    evaluate,
    evaluate_robustness,
    fgsm,
    perturb,
    pgd,
    pgd_l2,
)
from minihire.attacks.gradient import attack_identity
from minihire.attacks.images import craft_images, save_images
from minihire.data.batches import Batches
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import Interrupted, OutOfTime, stop_after
from minihire.runtime.progress import Progress


@pytest.mark.parametrize("attack", [fgsm(0.1), pgd(0.1, 0.03, 3)], ids=lambda a: a.name)
@pytest.mark.parametrize("kind", ["ann", "direct", "rate"])
def test_black_box_images_are_crafted_on_the_source_and_shown_to_the_target(k, network, data, images, kind, attack):
    source, target = network(k, kind), network(k, kind, seed=2)
    found = attack_accuracy(target, data, attack, source=source, seed=3)
    crafted = perturb(source, images, data.labels, attack, Draws(3, 0))
    assert found.tolist() == (predict(target, crafted, Draws(3, 0)) == data.labels).tolist()


def test_white_box_is_stronger_than_black_box(k, network, data):
    source, target = network(k, "ann"), network(k, "ann", seed=2)
    data = data.take(np.flatnonzero(accuracy(target, data)))
    white, black = (attack_accuracy(target, data, fgsm(0.1), source=crafter).mean() for crafter in (target, source))
    assert white < black


def test_every_target_sees_the_same_images(k, network, data):
    source, targets = network(k), [network(k, seed=seed) for seed in (1, 2, 3)]
    alone = [attack_accuracy(target, data, pgd(iterations=2), source=source).tolist() for target in targets]
    together = attacked_predictions(targets, source, data, pgd(iterations=2))
    assert [(found == data.labels).tolist() for found in together] == alone


class Broken(Attack):
    """An attack whose images are NaN, as if the gradient were."""

    def attacker(self, network):
        return lambda images, labels, draws: images * np.float32("nan")


@pytest.mark.parametrize("evaluate", [attack_accuracy, lambda net, *rest: craft_images(net, net, *rest)])
def test_pixels_that_the_attack_made_nan_are_refused(network, data, evaluate):
    with pytest.raises(
        MinihireError, match="^the attack 'broken' made pixels that are NaN: if it is your own, correct it; else"
    ):
        evaluate(network(get_backend("reference")), data, Broken("broken", 0.1, 0.1, 1))


@pytest.mark.filterwarnings("error")
def test_logits_that_are_not_finite_are_refused(k, network, data):
    net = network(k, "ann")
    net = net.copy(parameters={name: array * np.float32(1e30) for name, array in net.parameters.items()})
    for answer in (accuracy, lambda net, data: net.predict(data.images)):
        with pytest.raises(
            MinihireError, match="the network's logits are not finite, because its weights are too large"
        ):
            answer(net, data)


def test_without_epsilon_it_is_the_clean_accuracy(k, network, data):
    net = network(k)
    assert np.array_equal(attack_accuracy(net, data, pgd(0.0)), accuracy(net, data))


@pytest.mark.parametrize("kind", ["ann", "direct", "rate"])
def test_an_attack_does_not_depend_on_the_batch_size(k, network, data, kind):
    net = network(k, kind)
    found = [
        attack_accuracy(net, data, pgd(0.05, iterations=3), seed=5, batch_size=size).tolist() for size in (12, 5, 1)
    ]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("other", [dict(classes=5), dict(shape=(12, 12, 3)), dict(shape=(8, 8, 1))])
def test_networks_with_other_images_or_classes_are_refused(network, data, other):
    k = get_backend("reference")
    with pytest.raises(MinihireError, match="give networks for the same data set"):
        attack_accuracy(network(k), data, fgsm(), source=network(k, **other))


def test_ctrl_c_stops_between_batches(network, data, monkeypatch):
    net = network(get_backend("reference"))
    monkeypatch.setattr(Progress, "add", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted, match="stopped during fgsm"):
        attack_accuracy(net, data, fgsm(), batch_size=5)


def test_a_time_limit_stops_between_batches(network, data, monkeypatch):
    net, batches = network(get_backend("reference")), []
    monkeypatch.setattr("minihire.runtime.interrupt.monotonic", lambda: 60.0 * len(batches))
    monkeypatch.setattr(Progress, "add", lambda *_: batches.append(1))
    with pytest.raises(OutOfTime, match="--max-minutes 2 are over: stopped during fgsm"), stop_after(2):
        attack_accuracy(net, data, fgsm(), batch_size=5)
    assert len(batches) == 2


def test_a_stopped_attack_resumes_with_its_next_batch(network, data, monkeypatch, tmp_path):
    """Also with batches of another size; a finished attack deletes its file."""
    net, path, seen, load = network(get_backend("reference")), tmp_path / "deep" / "kept.npz", [], Batches.load
    monkeypatch.setattr(
        Batches, "load", lambda self, *place: (seen.append(place[1] * self.size), load(self, *place))[1]
    )
    whole = attack_accuracy(net, data, pgd(0.05, iterations=2), batch_size=3)
    assert seen == [0, 3, 6, 9]
    for size, begins, after in ((3, 0, 2), (4, 4, 1)):
        del seen[:]
        with monkeypatch.context() as patched, pytest.raises(Interrupted):
            patched.setattr(
                Progress, "add", lambda *_, after=after: len(seen) == after and signal.raise_signal(signal.SIGINT)
            )
            attack_accuracy(net, data, pgd(0.05, iterations=2), batch_size=size, path=path)
        assert seen == [begins + size * i for i in range(after)]
    del seen[:]
    found = attack_accuracy(net, data, pgd(0.05, iterations=2), batch_size=2, path=path)
    assert seen == [8, 10] and not path.exists()
    np.testing.assert_array_equal(found, whole)


@pytest.fixture
def save_always(monkeypatch):
    """Answers are saved before every batch, not only once a minute."""
    monkeypatch.setattr(evaluate, "SAVE_EVERY", 0)
    monkeypatch.setattr(evaluate, "WRITE_RATIO", 0)


def test_a_killed_attack_resumes_from_the_last_save(network, data, monkeypatch, tmp_path, save_always):
    net, path, seen, load = network(get_backend("reference")), tmp_path / "kept.npz", [], Batches.load
    monkeypatch.setattr(
        Batches, "load", lambda self, *place: (seen.append(place[1] * self.size), load(self, *place))[1]
    )
    attack = pgd(0.05, iterations=2)
    whole = attack_accuracy(net, data, attack, batch_size=3)
    del seen[:]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Progress, "add", lambda *_: len(seen) == 3 and signal.default_int_handler(2, None))
        attack_accuracy(net, data, attack, batch_size=3, path=path)
    del seen[:]
    found = attack_accuracy(net, data, attack, batch_size=3, path=path)
    assert seen == [6, 9] and not path.exists()
    np.testing.assert_array_equal(found, whole)


def test_a_short_attack_writes_no_file(network, data, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluate, "write_atomically", None)
    attack_accuracy(network(get_backend("reference")), data, fgsm(), batch_size=3, path=tmp_path / "kept.npz")


def test_a_file_of_an_earlier_version_resumes(network, data, tmp_path):
    net, path = network(get_backend("reference")), tmp_path / "kept.npz"
    whole = attack_accuracy(net, data, fgsm(), path=path, keep=True)
    arrays = dict(np.load(path))
    del arrays["farthest"]
    np.savez_compressed(path, **{**arrays, "done": np.array(5)})
    assert attack_accuracy(net, data, fgsm(), path=path).tolist() == whole.tolist() and not path.exists()


def test_files_that_are_no_unfinished_attack_are_refused(network, data, tmp_path):
    net, path = network(get_backend("reference")), tmp_path / "kept.npz"
    attack_accuracy(net, data, fgsm(), path=path, keep=True)
    whole = path.read_bytes()
    for write in (
        lambda: path.write_bytes(whole[:-100]),
        lambda: path.write_bytes(whole[:60]),
        lambda: np.savez(path, predicted=np.ones((1, 12), np.int64)),
        lambda: np.savez(path, predicted=np.array([{}]), done=3),
        lambda: np.savez(path, predicted=np.ones((1, 12)), done=3, about=""),
        lambda: np.savez(path, predicted=np.ones((1, 12), np.int64), done=3, about="", farthest=0),
        lambda: np.savez(path, predicted=np.ones((1, 12), np.int64), done=3, about="", farthest=np.zeros(2)),
    ):
        write()
        with pytest.raises(MinihireError, match="kept.npz is damaged: delete it, and the attack starts again"):
            attack_accuracy(net, data, fgsm(), path=path)
    for write in (
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(b"PK nothing"),
        lambda: np.savez(path, images=np.ones((1, 8, 8, 3))),
        lambda: save_images(path, craft_images(net, net, data, fgsm())),
    ):
        write()
        before = path.read_bytes()
        with pytest.raises(
            MinihireError, match="kept.npz is not an interim file of this attack: move it, or write the"
        ):
            attack_accuracy(net, data, fgsm(), path=path)
        assert path.read_bytes() == before
    path.unlink()
    attack_accuracy(net, data, fgsm(), path=path, keep=True)
    own = np.load(path)["about"]
    for images, predicted, about in ((13, 1, own), (12, 1, ""), (12, 10, own), (12, -2, own)):
        np.savez(path, predicted=np.full((1, images), predicted), done=3, about=about, farthest=0.0)
        with pytest.raises(MinihireError, match="is of another attack or other images: delete it"):
            attack_accuracy(net, data, fgsm(), path=path)


def test_kept_answers_are_those_of_one_attack_on_one_network(network, data, tmp_path):
    k = get_backend("reference")
    net, path = network(k), tmp_path / "kept.npz"
    dark = replace(data, images=data.images // 2)
    normalised = replace(net, model=replace(net.model, mean=(0.4,) * 3))
    answers = attack_accuracy(net, data, fgsm(), path=path, keep=True)
    assert attack_accuracy(net, data, fgsm(), path=path, keep=True).tolist() == answers.tolist()
    for targets, source, images, attack, more in (
        ([network(k, seed=2)], net, data, fgsm(), {}),
        ([net], network(k, seed=2), data, fgsm(), {}),
        ([net], net.view(steps=2), data, fgsm(), {}),
        ([normalised], net, data, fgsm(), {}),
        ([net], net, dark, fgsm(), {}),
        ([net], net, data, fgsm(0.5), {}),
        ([net], net, data, fgsm(), {"seed": 1}),
        ([net], net, data, fgsm(), {"about": "other"}),
    ):
        with pytest.raises(MinihireError, match="is of another attack or other images: delete it"):
            attacked_predictions(targets, source, images, attack, path=path, keep=True, **more)
        expected = attacked_predictions(targets, source, images, attack, seed=more.get("seed", 0))
        copy = shutil.copy(path, tmp_path / "copy.npz")
        found = attacked_predictions(targets, source, images, attack, path=copy, keep=True, replace=True, **more)
        assert np.array_equal(found, expected) and np.array_equal(np.load(copy)["predicted"], expected)


def test_predictions_and_answers_agree(k, network, data):
    net = network(k)
    for attack in (fgsm(0.1), pgd(0.0)):
        (predicted,), right = attacked_predictions([net], net, data, attack), attack_accuracy(net, data, attack)
        assert predicted.dtype == np.int64 and np.array_equal(predicted == data.labels, right)
    assert np.array_equal(predicted, predictions(net, data))


def test_a_stop_during_the_last_batch_keeps_all_answers(k, network, data, tmp_path, monkeypatch):
    net, path, load = network(k), tmp_path / "answers.npz", Batches.load

    def loading(self, *arguments):
        signal.raise_signal(signal.SIGINT)
        return load(self, *arguments)

    whole = attack_accuracy(net, data, fgsm(0.1))
    with (
        monkeypatch.context() as patched,
        pytest.raises(Interrupted, match="^stopped"),
    ):
        patched.setattr(Batches, "load", loading)
        attack_accuracy(net, data, fgsm(0.1), path=path)
    monkeypatch.setattr(Batches, "load", None)  # nothing is computed again
    again = attack_accuracy(net, data, fgsm(0.1), path=path)
    assert again.tolist() == whole.tolist() and not path.exists()


@pytest.mark.parametrize("norm", ["L∞", "L2"])
def test_a_warning_says_that_an_attack_left_its_ball(network, data, capsys, monkeypatch, norm):
    """One whose images are black, although its ε is small. Those of minihire stay in their balls."""
    monkeypatch.setattr(Progress, "quiet", False)
    net = network(get_backend("reference"))
    inside = [fgsm(0.1), pgd(0.05, 0.02, 3)] if norm == "L∞" else [pgd_l2(0.5, 0.2, 3)]
    for attack in inside:
        attack_accuracy(net, data, attack)
        assert "warning" not in capsys.readouterr().out
    black = replace(inside[0], name="black")
    monkeypatch.setattr(type(black), "attacker", lambda *_: lambda images, *_: np.zeros_like(images))
    attack_accuracy(net, data, black)
    pixels = data.images / 255
    largest = pixels.max() if norm == "L∞" else np.sqrt((pixels**2).sum(axis=(1, 2, 3))).max()
    said = (
        f"warning: black has ε = {black.epsilon:g}, but changed an image by {largest:.4g}: it has to stay in its ball\n"
    )
    assert capsys.readouterr().out.count(said) == 1
    crafted = craft_images(net, net, data, black)
    assert not crafted.images.any() and capsys.readouterr().out.count(said) == 1


def test_a_resumed_attack_warns_that_it_left_its_ball_before(network, data, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(Progress, "quiet", False)
    net, path, attack, inside = network(get_backend("reference")), tmp_path / "kept.npz", fgsm(0.1), []
    leaves = lambda *_: lambda images, *_: images if inside else np.zeros_like(images)
    monkeypatch.setattr(type(attack), "attacker", leaves)
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(Progress, "add", lambda *_: signal.raise_signal(signal.SIGINT))
        attack_accuracy(net, data, attack, batch_size=5, path=path)
    inside.append(True)
    assert "warning" not in capsys.readouterr().out
    attack_accuracy(net, data, attack, batch_size=5, path=path)
    assert capsys.readouterr().out.count("warning: fgsm has ε = 0.1, but changed an image by") == 1


class Dim(Attack):
    """An attack with an attribute that is no field: it makes the images darker."""

    def __init__(self, factor, epsilon=1.0):
        super().__init__("dim", epsilon, 0.0, 1)
        object.__setattr__(self, "factor", factor)
        object.__setattr__(self, "table", np.full(2000, factor))  # repr does not show all of it

    def attacker(self, network):
        return lambda images, labels, draws: images * np.float32(self.factor)


def test_attributes_of_an_own_attack_count_when_it_resumes(network, data, tmp_path):
    net, path = network(get_backend("reference")), tmp_path / "kept.npz"
    found = attack_accuracy(net, data, Dim(0.5), path=path, keep=True)
    assert np.array_equal(attack_accuracy(net, data, Dim(0.5), path=path, keep=True), found)
    changed, unknown = Dim(0.5), Dim(0.5)
    changed.table[1000] = 0
    object.__setattr__(unknown, "function", lambda: None)
    for other in (Dim(0.25), changed, unknown):
        with pytest.raises(MinihireError, match="is of another attack"):
            attack_accuracy(net, data, other, path=path)


def test_the_file_of_an_own_attack_counts_when_it_resumes(tmp_path):
    def identity(code):
        (tmp_path / "mine.py").write_text(
            f"from minihire.attacks import Attack\nSIGN = {code}\nclass Mine(Attack): pass\n"
        )
        return attack_identity(load_module(tmp_path / "mine.py", "--module").Mine("mine", 0.1, 0.1, 1))

    assert identity(1) == identity(1) != identity(-1)


def test_the_file_of_a_base_class_counts_when_an_own_attack_resumes(tmp_path):
    def identity(code):
        (tmp_path / "base.py").write_text(
            f"from minihire.attacks import Attack\nSIGN = {code}\nclass Base(Attack): pass\n"
        )
        base = load_module(tmp_path / "base.py", "--module").Base
        return attack_identity(type("Mine", (base,), {"__module__": __name__})("mine", 0.1, 0.1, 1))

    assert identity(1) == identity(1) != identity(-1)


def test_the_identity_of_a_built_in_attack_is_its_settings():
    assert attack_identity(pgd(0.1)) == repr(pgd(0.1)) != attack_identity(pgd(0.2))


def test_an_own_attack_with_attributes_runs_in_a_suite(network, data):
    net = network(get_backend("reference"))
    data = replace(data, labels=predictions(net, data))  # so that images are left for the last attack
    found = evaluate_robustness(net, data, "parity", epsilon=1e-6, attacks=[Dim(0.0, 1e-6)])
    assert found.stages[-1]["name"] == "dim"
    assert np.array_equal(found.robust, attack_accuracy(net, data, Dim(0.0)))


def test_an_attack_that_works_in_place_changes_no_originals(k, network, data, monkeypatch, capsys):
    monkeypatch.setattr(Progress, "quiet", False)
    net, attack = network(k), fgsm(0.1)
    monkeypatch.setattr(type(attack), "attacker", lambda *_: lambda images, *_: images.__imul__(0))
    attack_accuracy(net, data, attack)
    assert "warning: fgsm has ε = 0.1, but changed an image by" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda images: None, "NoneType"),
        (lambda images: images[:2], r"float32 \[2, 8, 8, 3\]"),
        (lambda images: images.astype(np.float64), r"float64 \[12, 8, 8, 3\]"),
        (list, "list"),
    ],
)
def test_an_attack_that_does_not_return_its_images_is_refused(network, data, monkeypatch, returned, said):
    net, mine = network(get_backend("reference")), fgsm(0.1)
    monkeypatch.setattr(type(mine), "attacker", lambda *_: lambda images, *_: returned(images))
    for call in (lambda: attack_accuracy(net, data, mine), lambda: craft_images(net, net, data, mine)):
        with pytest.raises(
            MinihireError, match=rf"^the attack 'fgsm' returned {said}: let it return images, float32 \[12, 8, 8, 3\]$"
        ):
            call()
