"""Unattended runs: a time limit, after which work resumes bit-identically; lines in a pipe; memory that runs out."""

import contextlib
import io
import re
import signal
import sys
from functools import partial

import pytest
from run_files import same_as, weights, write_cifar10
from test_cli import EXECUTION, command, results_of, small

from backends import BackendError, get_backend
from backends.services import Services
from minihire.attacks import attacked_predictions
from minihire.network import Network
from minihire.runtime.files import only_writer
from minihire.runtime.interrupt import Interrupted, OutOfTime, StopSignal, stop_after
from minihire.runtime.progress import Progress, counted
from minihire.study.networks import load_data
from minihire.study.run import Run
from minihire.study.settings import Config
from minihire.training.checkpoint import load

BATCHES = 24  # of the ANN's training: 6 epochs of 4


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """--quiet holds for a process; and drawing takes longer than a small run."""
    monkeypatch.setattr(Progress, "quiet", False)
    monkeypatch.setattr("minihire.app.run.draw_all", lambda results, folder: [])


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """A folder with a small CIFAR-10."""
    return write_cifar10(tmp_path_factory.mktemp("cifar"))


@pytest.fixture
def train(cifar):
    """train(out, …) as a user would: its exit code."""
    flags = [*small(cifar, "train ann"), *EXECUTION]
    return lambda out, *more: command("train", "ann", *flags, "--out", out, *more)[0]


@pytest.fixture
def run(cifar):
    """run(out, …) of one method, without a black box: its exit code."""
    flags = [*small(cifar, methods="hire"), "--no-black-box", *EXECUTION]
    return lambda out, *more: command("run", *flags, "--out", out, *more)[0]


@pytest.fixture
def a_minute_a_batch(monkeypatch):
    """A clock that advances by a minute with every batch of any work, and only then."""
    now, add = [1000.0], Progress.add

    def adding(self, *arguments):
        now[0] += 60
        add(self, *arguments)

    monkeypatch.setattr(Progress, "add", adding)
    monkeypatch.setattr("minihire.runtime.interrupt.monotonic", lambda: now[0])


# ---------------------------------------------------------------- the limit


def test_a_training_stops_at_its_limit_and_goes_on_to_the_bit(train, a_minute_a_batch, tmp_path, capsys):
    assert train(tmp_path / "unbroken.npz") == 0
    path = tmp_path / "ann.npz"
    assert train(path, "--max-minutes", 7) == 3
    assert capsys.readouterr().err == (
        f"minihire: --max-minutes 7 are over: stopped ann in epoch 2 after batch 3; "
        f"saved in {path}; --resume resumes it\n"
    )
    assert train(path, "--max-minutes", "9.5", "--resume") == 3
    assert "in epoch 5 after batch 1;" in capsys.readouterr().err
    assert train(path, "--max-minutes", 7, "--resume") == 0
    assert weights(path) == weights(tmp_path / "unbroken.npz")


@pytest.mark.slow
def test_a_run_in_pieces_finds_what_an_unbroken_run_finds(run, a_minute_a_batch, monkeypatch, tmp_path, capsys):
    unbroken, out, codes, left = tmp_path / "unbroken", tmp_path / "pieces", [], {}
    assert run(unbroken) == 0
    capsys.readouterr()
    monkeypatch.setattr(Progress, "__exit__", lambda self, *_: left.update({self.label: self.left}))
    while not codes or codes[-1] == 3 and len(codes) < 20:
        codes.append(run(out, "--max-minutes", 6, *(["--resume"] if codes else [])))
    stops = capsys.readouterr().err.splitlines()
    assert codes == [3] * (len(codes) - 1) + [0] and len(codes) > 4
    how = f"minihire run --resume --out {re.escape(str(out))}"
    assert all(re.fullmatch(rf"minihire: --max-minutes 6 are over: stopped .*; {how} resumes it", s) for s in stops)
    assert left == dict.fromkeys(("ann", "conversion", "hire", "clean images", "fgsm", "pgd", "activity"), 0)
    same_as((unbroken, results_of(unbroken)), out, results_of(out))


@pytest.mark.slow
def test_an_attack_that_takes_longer_than_the_limit_goes_on_where_it_stopped(
    run, a_minute_a_batch, monkeypatch, tmp_path
):
    unbroken, out, codes = tmp_path / "unbroken", tmp_path / "pieces", []
    monkeypatch.setattr("minihire.study.study.attacked_predictions", partial(attacked_predictions, batch_size=2))
    assert run(unbroken) == 0
    while not codes or codes[-1] == 3 and len(codes) < 40:
        codes.append(run(out, "--max-minutes", 7, *(["--resume"] if codes else [])))
    assert codes == [3] * (len(codes) - 1) + [0]
    same_as((unbroken, results_of(unbroken)), out, results_of(out))
    assert not list(out.glob("*.npz"))


@pytest.fixture
def attack(train, cifar, monkeypatch, tmp_path):
    """attack(…) on the test images of a small SNN, in batches of two: its exit code."""
    assert train(tmp_path / "ann.npz") == 0
    flags = [*small(cifar, "convert"), *EXECUTION]
    assert command("convert", tmp_path / "ann.npz", *flags, "--out", tmp_path / "snn.npz")[0] == 0
    monkeypatch.setattr("minihire.study.study.attacked_predictions", partial(attacked_predictions, batch_size=2))
    flags = [*small(cifar, "attack"), *EXECUTION]
    return lambda *more: command("attack", tmp_path / "snn.npz", *flags, *more)[0]


def test_the_attack_command_goes_on_where_it_stopped(attack, a_minute_a_batch, tmp_path, capsys):
    whole, pieces, codes = tmp_path / "whole.json", tmp_path / "pieces.json", []
    assert attack("--json", whole) == 0
    capsys.readouterr()
    while not codes or codes[-1] == 3 and len(codes) < 40:
        codes.append(attack("--json", pieces, "--max-minutes", 8))
    assert codes == [3, 3, 0]  # were the first attack made again, its eight batches would end every try
    stops = capsys.readouterr().err.splitlines()
    told = (
        r"minihire: --max-minutes 8 are over: stopped during (fgsm|pgd); finished batches were saved in "
        rf"{tmp_path}/pieces.\1.npz; the same command resumes it"
    )
    assert len(stops) == len(codes) - 1 and all(re.fullmatch(told, line) for line in stops)
    assert pieces.read_text() == whole.read_text() and not list(tmp_path.glob("pieces.*.npz"))


@pytest.mark.parametrize("flags", [(), ("--suite", "parity")], ids=["attacks", "suite"])
def test_two_attack_commands_do_not_share_their_interim_files(attack, cifar, tmp_path, capsys, flags):
    path = tmp_path / "x.json"
    arguments = ["attack", tmp_path / "snn.npz", "--data-dir", cifar, *flags, *EXECUTION, "--json", path]
    with only_writer(tmp_path / "x"):  # as the other command does, whatever the ending of its file
        assert command(*arguments)[0] == 2
    assert capsys.readouterr().err == (
        f"minihire: another process is attacking with --json {path}: wait for it, or give another file\n"
    )
    assert command(*arguments)[0] == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ann.npz", "snn.npz", "x.json"]


def test_answers_to_another_attack_are_not_gone_on_with(attack, a_minute_a_batch, tmp_path, capsys):
    limited = "--json", tmp_path / "x.json", "--max-minutes", 3
    assert attack(*limited) == 3 and attack(*limited, "--epsilon", "1/255") == 2
    assert "x.fgsm.npz is of another attack or other images: delete it, and" in capsys.readouterr().err
    (tmp_path / "x.fgsm.npz").unlink()
    assert attack(*limited, "--epsilon", "1/255") == 3


def test_images_where_answers_would_be_written_are_not_called_damaged(attack, tmp_path, capsys):
    images = tmp_path / "x.pgd.npz"
    assert attack("--attacks", "pgd", "--save-images", images) == 0
    before = images.read_bytes()
    assert attack("--attacks", "pgd", "--json", tmp_path / "x.json") == 2
    assert capsys.readouterr().err == (
        f"minihire: {images} is not an interim file of this attack: move it, or write the results elsewhere, as with another "
        "--json or --out\n"
    )
    assert images.read_bytes() == before


def test_ctrl_c_in_an_attack_says_where_its_answers_are(attack, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Progress, "add", lambda self, *_: self.label == "fgsm" and signal.raise_signal(signal.SIGINT))
    assert attack("--json", tmp_path / "q.json") == 130
    assert capsys.readouterr().err == (
        f"minihire: stopped during fgsm; finished batches were saved in {tmp_path / 'q.fgsm.npz'}; the same command resumes it\n"
    )
    assert (tmp_path / "q.fgsm.npz").exists()


def test_a_second_ctrl_c_in_an_attack_says_where_the_answers_of_the_first_attack_are(
    attack, monkeypatch, tmp_path, capsys
):
    def interrupt_pgd(self, *_):
        if self.label == "pgd":
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "add", interrupt_pgd)
    assert attack("--json", tmp_path / "q.json") == 130
    assert capsys.readouterr().err == (
        "minihire: stopped; finished work was kept in q.ATTACK.npz (the same command resumes it)\n"
    )


def test_an_attack_command_that_keeps_nothing_says_nothing_else(attack, monkeypatch, tmp_path, capsys):
    assert attack("--max-minutes", 3) == 2 == attack("--max-minutes", 3, "--json", "-")
    assert (
        capsys.readouterr().err.count(
            "minihire: --max-minutes needs --json FILE: interim answers are written next to FILE"
        )
        == 2
    )
    monkeypatch.setattr(Progress, "add", lambda self, *_: self.label == "fgsm" and signal.raise_signal(signal.SIGINT))
    assert attack() == 130
    assert capsys.readouterr().err == "minihire: stopped during fgsm\n"
    assert not list(tmp_path.glob("*.fgsm.npz"))


@pytest.mark.parametrize("minutes", [BATCHES, BATCHES + 1, "1e6"])
def test_a_limit_that_comes_with_the_last_batch_or_later_changes_nothing(train, a_minute_a_batch, tmp_path, minutes):
    assert train(tmp_path / "plain.npz") == 0 == train(tmp_path / "limited.npz", "--max-minutes", minutes)
    assert weights(tmp_path / "limited.npz") == weights(tmp_path / "plain.npz")


def test_work_that_is_done_when_the_time_is_over_is_kept(a_minute_a_batch):
    with stop_after(1), StopSignal() as stop:
        Progress("work", 1).add(1)
        assert stop.requested
    assert not stop.requested  # the limit went with stop_after


def test_no_phase_begins_after_the_limit(run, a_minute_a_batch, tmp_path, capsys):
    assert run(tmp_path / "x", "--max-minutes", BATCHES) == 3
    stop = f"stopped before convert ann; finished work was kept; minihire run --resume --out {tmp_path}/x resumes it\n"
    assert stop in capsys.readouterr().err
    assert results_of(tmp_path / "x")["models"].keys() == {"ann"}


def test_work_that_cannot_be_resumed_is_ended_by_ctrl_c_and_not_by_the_limit(a_minute_a_batch):
    with pytest.raises(Interrupted, match="^stopped here$"), stop_after(1), StopSignal() as stop:
        Progress("work", 1).add(1)
        stop.check("here", time_limit=False)
        signal.raise_signal(signal.SIGINT)
        stop.check("here", time_limit=False)


def test_ctrl_c_after_the_limit_is_ctrl_c(a_minute_a_batch):
    with pytest.raises(Interrupted) as caught, stop_after(1), StopSignal() as stop:
        Progress("work", 1).add(1)
        assert type(stop.interruption("here")) is OutOfTime
        signal.raise_signal(signal.SIGINT)
        stop.check("here")
    assert type(caught.value) is Interrupted and str(caught.value) == "stopped here"


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1/0", "soon", ""])
@pytest.mark.parametrize("name", ["train", "run"])
def test_what_is_no_time_is_refused(train, run, tmp_path, capsys, name, value):
    assert {"train": train, "run": run}[name](tmp_path / "x", f"--max-minutes={value}") == 2
    assert re.fullmatch(r"minihire: argument --max-minutes: [^\n]+; see minihire \w+ --help\n", capsys.readouterr().err)
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="POSIX signals")
@pytest.mark.parametrize("ignored", [False, True], ids=["hangup", "nohup"])
def test_a_hangup_stops_work_unless_it_is_ignored(ignored):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with contextlib.suppress(Interrupted), StopSignal() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.requested == (not ignored)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="POSIX signals")
def test_a_hangup_stops_work_though_the_terminal_is_gone(monkeypatch):
    def gone(*_, **__):
        raise OSError(5, "Input/output error")

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with contextlib.suppress(Interrupted), StopSignal() as stop:
            monkeypatch.setattr("builtins.print", gone)
            signal.raise_signal(signal.SIGHUP)
            assert stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


# ---------------------------------------------------------------- progress in a pipe


@pytest.fixture
def seconds(monkeypatch):
    """The clock of Progress: seconds[0]. The process computes all the time, except for seconds[1] seconds."""
    now = [50.0, 0.0]
    monkeypatch.setattr("minihire.runtime.progress.perf_counter", lambda: now[0])
    monkeypatch.setattr("minihire.runtime.progress.process_time", lambda: now[0] - now[1])
    return now


def test_a_pipe_gets_a_line_a_minute(seconds, capsys):
    with Progress("pgd", 1000, done=100, memory=lambda: 3 << 30) as progress:
        for _ in range(5):
            seconds[0] += 30
            progress.add(100, "a note")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "pgd                a note, 300/1,000 images, 3.3 images/s, 3 min 30 s left, device memory 3,072 MiB",
        "pgd                a note, 500/1,000 images, 3.3 images/s, 2 min 30 s left, device memory 3,072 MiB",
    ]


def test_counted_work_gets_lines_too(seconds, capsys):
    for batch in counted(iter([30, 30, 30, 10]), "activity", 100, count=lambda batch: batch):
        seconds[0] += batch
    assert capsys.readouterr().out == "activity           60/100 images, 1.0 images/s, 40 s left\n"


def test_a_line_for_an_epoch_is_a_line_too(seconds, capsys):
    progress = Progress("ann", 9000)
    seconds[0] += 59
    progress.tell("epoch 1")
    seconds[0] += 59
    progress.add(5900)
    assert capsys.readouterr().out == "ann                epoch 1\n"
    seconds[0] += 1
    progress.add(60)
    assert capsys.readouterr().out == "ann                5,960/9,000 images, 60 images/s, 51 s left\n"


def test_the_time_of_the_first_batch_which_compiles_is_not_in_the_time_left(seconds, capsys):
    progress = Progress("ann", 10_000)
    seconds[0] += 600
    progress.add(100)
    assert capsys.readouterr().out == "ann                100/10,000 images\n"
    for _ in range(60):
        seconds[0] += 1
        progress.add(100)
    assert capsys.readouterr().out == "ann                6,100/10,000 images, 100 images/s, 39 s left\n"


def test_a_pause_between_epochs_does_not_disturb_the_time_left(seconds, capsys):
    """A line after a checkpoint covers a few seconds only. Speed is measured over ten minutes."""
    progress = Progress("ann", 100_000)
    progress.add(100)
    for _ in range(60):
        seconds[0] += 1
        progress.add(100)
    seconds[0] += 5  # evaluation and checkpoint
    progress.add(100)
    progress.tell("epoch 1")
    assert capsys.readouterr().out.splitlines()[-1] == "ann                epoch 1, 94 images/s, 16 min 40 s left"
    for _ in range(700):
        seconds[0] += 1
        progress.add(50)
    assert "50 images/s" in capsys.readouterr().out.splitlines()[-1]  # after ten minutes the earlier speed is forgotten


def test_time_in_which_the_process_was_stopped_does_not_count(seconds, capsys):
    progress = Progress("ann", 2_000_000, done=1_000_000)  # a resumed training
    for number in range(1, 300):
        seconds[0] += 1
        progress.add(300)
        if number % 100 == 0:  # ten hours each time, as after SIGSTOP
            seconds[0] += 36_000
            seconds[1] += 36_000
    for line in capsys.readouterr().out.splitlines():
        assert "300 images/s" in line
    progress.tell("now")
    assert capsys.readouterr().out == "ann                now, 300 images/s, 50 min 34 s left\n"


def test_a_long_checkpoint_counts_and_so_does_a_slow_batch(seconds, capsys):
    progress = Progress("ann", 10_000)
    for waited in (0, 50, 0):  # seconds of waiting for the disk, fewer than those of a pause
        seconds[0] += 50 + waited
        seconds[1] += waited
        progress.add(100)
    seconds[0] += 100  # a batch that takes long because it computes
    progress.add(100)
    progress.tell("now")
    assert capsys.readouterr().out.splitlines()[-1].startswith("ann                now, 1.2 images/s")


def test_the_time_left_of_a_training_is_right_within_a_fifth(seconds, capsys):
    """50,000 images in an epoch at 180 images/s, which falls by a tenth; evaluations and checkpoints; two hours of SIGSTOP."""
    progress, said = Progress("hire", 500_000), []
    for batch in range(1, 15_625):
        seconds[0] += 32 / 180 * (1 + 0.1 * batch / 15_625)
        progress.add(32)
        if batch % 1562 == 0:
            seconds[0] += 9.0
        if batch == 4000:
            seconds[0] += 7200
            seconds[1] += 7200
        for line in capsys.readouterr().out.splitlines():
            hours, minutes = re.search(r", (?:(\d+) h )?(?:(\d+) min )?", line[line.index("images/s") :]).groups(0)
            said.append((seconds[0], 60 * (60 * int(hours) + int(minutes))))
    stopped = next(now for now, _ in said if now > 7200)
    for now, left in said:
        truth = seconds[0] - now - (7200 if now < stopped else 0)
        assert abs(left - truth) <= 0.2 * truth + 60
    assert len(said) > 30


def test_nor_in_the_bar(seconds, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress("ann", 10_000)
    progress.bar._time = lambda: seconds[0]
    seconds[0] += 600
    progress.add(100)
    assert "100/10000" in progress.bar.__str__() and "<?" in progress.bar.__str__()
    for _ in range(60):
        seconds[0] += 1
        progress.add(100)
    assert "6100/10000 [01:00<00:38, 100.00 images/s]" in progress.bar.__str__()


class Terminal(io.StringIO):
    def isatty(self):
        return True


# ---------------------------------------------------------------- the device's memory


@pytest.fixture
def device(monkeypatch):
    """device(MiB) makes the backend say that it has used so much of its device."""
    return lambda used: monkeypatch.setattr(Services, "device_memory", lambda self: used << 20)


def test_epochs_tell_the_device_s_memory(cifar, device, tmp_path):
    device(5)
    code, text = command("train", "ann", *small(cifar, "train ann"), "--threads", 1, "--out", tmp_path / "ann.npz")
    epochs = [line for line in text.splitlines() if " epoch " in line]
    assert code == 0 and len(epochs) == 6
    for line in epochs:
        assert re.search(r"held-out [\d.]+%, [\d,.]+ images/s, [^,]+ left, device memory 5 MiB$", line)


@pytest.fixture
def phase(tmp_path, cifar):
    """phase() goes once more through the phase "x" of a run: what its results say of it."""
    config = Config(data="cifar10", data_dir=str(cifar), train_limit=40)
    run = Run(config, get_backend("numba", threads=1), tmp_path, load_data(config))

    def go():
        with run.folder.phase("x"):
            pass
        return results_of(tmp_path)["phases"]["x"]

    return go


def test_results_keep_the_largest_device_memory_of_a_phase(phase, device):
    for used, peak in ((3, 3), (9, 9), (4, 9)):
        device(used)
        assert phase()["peak_device_memory_bytes"] == peak << 20


def test_on_the_cpu_results_have_no_device_memory(phase):
    assert "peak_device_memory_bytes" not in phase()


# ---------------------------------------------------------------- memory that runs out


@pytest.fixture
def breaks(monkeypatch):
    """breaks(error, number): the number-th batch from now on raises it, once."""
    gradients, calls = Network.gradients, []

    def arrange(error, number):
        def breaking(self, *arguments, **options):
            calls.append(1)
            if len(calls) == number:
                raise error
            return gradients(self, *arguments, **options)

        monkeypatch.setattr(Network, "gradients", breaking)

    return arrange


@pytest.mark.parametrize(
    ("error", "cause"),
    [(BackendError("CUDA out of memory"), r" \(CUDA out of memory\)"), (MemoryError(), "")],
    ids=["device", "host"],
)
def test_out_of_memory_names_a_batch_size_and_what_was_saved_goes_on(train, breaks, tmp_path, capsys, error, cause):
    assert train(tmp_path / "unbroken.npz") == 0
    breaks(error, 6)
    path = tmp_path / "ann.npz"
    assert train(path) == 2
    assert re.fullmatch(
        rf"minihire: ann ran out of memory with 10 images in a batch{cause}: try --ann-batch-size 5 with another --out; "
        rf"with more memory, --resume resumes {re.escape(str(path))}\n",
        capsys.readouterr().err,
    )
    assert load(path).meta["training"]["position"]["epoch"] == 1
    assert train(path, "--resume") == 0 and weights(path) == weights(tmp_path / "unbroken.npz")


def test_nothing_was_saved_where_the_first_batch_does_not_fit(train, breaks, tmp_path, capsys):
    breaks(BackendError("not enough memory on cuda:0"), 1)
    assert train(tmp_path / "ann.npz") == 2
    assert capsys.readouterr().err.endswith("try --ann-batch-size 5 with another --out\n")


def test_an_snn_has_its_own_flag(run, breaks, tmp_path, capsys):
    breaks(BackendError("out of memory"), BATCHES + 1)
    assert run(tmp_path / "x") == 2
    assert (
        "hire ran out of memory with 10 images in a batch (out of memory): try --batch-size 5"
        in capsys.readouterr().err
    )


def test_a_batch_of_one_image_cannot_be_halved(train, breaks, tmp_path, capsys):
    breaks(BackendError("out of memory"), 1)
    assert train(tmp_path / "ann.npz", "--ann-batch-size", 1) == 2
    assert "choose a smaller --width or --hidden with another --out" in capsys.readouterr().err


def test_other_errors_of_a_backend_stay_what_they_are(train, breaks, tmp_path, capsys):
    breaks(BackendError("the device is gone"), 2)
    assert train(tmp_path / "ann.npz") == 2
    assert capsys.readouterr().err == "minihire: the device is gone\n"
