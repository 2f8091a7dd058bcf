"""Whatever is wrong with the input: one sentence on stderr, exit code 2, nothing written over. And Ctrl-C: one sentence, 130."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import EXECUTION, command, plain, results_of, scores, small, write_cifar10

from backends import get_backend
from minihire.app import cli, folders, run
from minihire.data import load
from minihire.models import MODELS, build
from minihire.network import Network, initialise
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import only_writer
from minihire.runtime.interrupt import Interrupted, StopSignal
from minihire.study.results import Results
from minihire.study.settings import preset
from minihire.training import Recipe, checkpoint, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data, checkpoints, a run in progress and all kinds of damaged files; what is wrong must leave it as it is."""
    folder, k = tmp_path_factory.mktemp("place"), get_backend("reference")
    cifar = write_cifar10(folder / "cifar")

    def save(name, classes=10, shape=(32, 32, 3), spiking=False):
        model = build("vgg5", classes, shape, width=1 / 32, hidden=12, dropout=0.0)
        network = Network(model, k, initialise(model, k, 0, spiking), spiking=spiking, steps=4 if spiking else 1)
        checkpoint.save(folder / name, network, extra={"about": config.describe()})
        return network

    config = preset(
        "mini",
        data="cifar10",
        data_dir=str(cifar),
        width=1 / 32,
        hidden=12,
        dropout=0.0,
        train_limit=40,
        test_limit=20,
        heldout=5,
        ann_epochs=1,
        ann_batch_size=20,
    )
    ann, _ = save("ann.npz"), save("snn.npz", spiking=True)
    save("grey.npz", shape=(28, 28, 1))
    save("five.npz", classes=5)
    (folder / "models" / "second").mkdir(parents=True)
    for name in ("a.npz", "second/b.npz"):
        save(f"models/{name}")
    checkpoint.save(folder / "unknown.npz", ann)
    names = ("zero", "one", *map(str, range(2, 10)))
    checkpoint.save(folder / "renamed.npz", ann, extra={"data": {"name": "cifar10", "classes": list(names)}})
    checkpoint.save(folder / "of-shapes.npz", ann, extra={"data": {"name": "shapes", "classes": list(names)}})
    checkpoint.save(folder / "shapes.npz", ann, extra={"about": preset("mini").describe()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", MODELS["vgg5"])
        foreign = replace(ann, model=build("tiny", width=1 / 32, hidden=12))
        checkpoint.save(folder / "foreign.npz", foreign, extra={"about": replace(config, model="tiny").describe()})
        Results.new(folder / "foreign" / "results.json", replace(config, model="tiny").describe(), k).save()
    data = load("cifar10", cifar, heldout=5, train_limit=40)
    train(ann, Recipe(1, 20, "sgd", 0.01), data.train, path=folder / "trained.npz", about=config.describe())
    for name in ("kept.best.npz", "kept.epoch-3.npz"):
        (folder / name).write_bytes((folder / "ann.npz").read_bytes())
    (folder / "corrupt.npz").write_bytes((folder / "ann.npz").read_bytes()[:3000])
    (folder / "text.npz").write_text("no archive")
    (folder / "wrong.py").write_text("def\n")
    (folder / "failing.py").write_text("x = 0\ny = 1 / x\n")
    (folder / "exiting.py").write_text("raise SystemExit(0)\n")
    (folder / "zero-byte.json").write_text('{"data": "folder", "data_dir": "a\\u0000b"}')
    (folder / "figures.json").write_text('{"command": "analyze"}')
    (folder / "figures" / "figures").mkdir(parents=True)
    (folder / "figures" / "figures" / "accuracy.png").write_text("mine")
    (folder / "others").mkdir()
    (folder / "others" / "paper.md").write_text("mine")
    (folder / "link.json").symlink_to(folder / "figures.json")
    (folder / "dangling.npz").symlink_to(folder / "nowhere")
    (folder / "dangling.pt").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "fifo")
    (folder / "file").write_text("a file")
    (folder / "pictures").mkdir()
    Image.effect_noise((50, 40), 60).save(folder / "pictures" / "a.png")
    (folder / "cut.png").write_bytes((folder / "pictures" / "a.png").read_bytes()[:600])
    cut = write_cifar10(folder / "cut")
    (cut / "data_batch_3.bin").write_bytes((cut / "data_batch_3.bin").read_bytes()[:-1])
    (write_cifar10(folder / "partial") / "test_batch.bin").unlink()
    odd = write_cifar10(folder / "odd")
    (odd / "test_batch.bin").write_bytes(bytes([77]) + (odd / "test_batch.bin").read_bytes()[1:])
    Results.new(folder / "run" / "results.json", config.describe(), k).save()
    for name, text in {
        "damaged": "{",
        "other": "[1]",
        "bare": '{"schema": 1}',
        "newer": '{"schema": 99}',
        "settings": json.dumps(
            {**results_of(folder / "run"), "config": {**config.describe(), "steps": "six"}, "checksum": None}
        ),
    }.items():
        (folder / name).mkdir()
        (folder / name / "results.json").write_text(text)
    return folder


RUN, TRAIN, TO = "run {small} --out {place}/new", "train ann {small} --out {place}/new.npz", "--out {place}/new.npz"
CASES = {
    # the command line
    "no command": ("", "the following arguments are required: COMMAND"),
    "unknown command": ("fly", "there is no command 'fly': choose run, report"),
    "mistyped command": ("runn", "there is no command 'runn': did you mean run?"),
    "help as a command": ("help", "there is no command 'help': use minihire --help, or minihire COMMAND --help"),
    "mistyped method": ("train hir " + TO, "there is no method 'hir': did you mean hire?"),
    "mistyped table": ("paper tabel2", "the paper has no 'tabel2': did you mean table2?"),
    "mistyped preset": ("run --preset cifar10-smal", "did you mean cifar10-small?"),
    "mistyped backend": (RUN + " --backend tourch", "there is no backend 'tourch': did you mean torch?"),
    "mistyped surrogate": ("attack {place}/snn.npz --surrogate arctn:2", "did you mean arctan?"),
    "mistyped attack": ("attack {place}/ann.npz --attacks fgms", "there is no attack 'fgms': did you mean fgsm?"),
    "unknown flag": ("run --wobble 9", "run has no --wobble; see minihire run --help"),
    "flag of other commands": (
        "attack {place}/snn.npz --ann-epochs 99",
        "attack has no --ann-epochs; it is a flag of run and train; see minihire attack --help",
    ),
    "black box without a source": ("attack {place}/snn.npz --black-box", "it is a flag of run;"),
    "flag of another method": (
        "train hire --from {place}/snn.npz --out {place}/new.npz --ann-epochs 3",
        "train hire has no --ann-epochs; it is a flag of run and of train ann",
    ),
    "noise of a training without": (
        "train control --from {place}/snn.npz --out {place}/new.npz --noise-step 0.1",
        "train control has no --noise-step; it is a flag of run and of train gaussian and hire",
    ),
    "shortened flag": (
        "run --epochs 3",
        "run has no --epochs: did you mean --ann-epochs, --snn-epochs or --adversarial-epochs?",
    ),
    "mistyped flag": ("run --noise-stepp 3", "run has no --noise-stepp: did you mean --noise-step?"),
    "abbreviated flag": ("run --noise-s 0.1", "run has no --noise-s: did you mean --noise-step?"),
    "an argument too many": ("info vgg5 vgg9", "info has no argument 'vgg9'; see minihire info --help"),
    "no value": ("run --steps", "argument --steps: expected one argument"),
    "unknown preset": ("run --preset maxi", "there is no preset 'maxi'"),
    "unknown backend": (RUN + " --backend abacus", "there is no backend 'abacus': choose numba, reference"),
    "no cuda": (RUN + " --device cuda", "the numba backend runs on the CPU only, not on 'cuda'"),
    "no threads": (RUN + " --threads 0", "threads must be 1 … 1024, not 0"),
    "threads in words": (RUN + " --threads two", "argument --threads: invalid int value: 'two'"),
    "too many threads": (RUN + " --threads 4096", "threads must be 1 … 1024, not 4096"),
    # settings
    "no steps": (RUN + " --steps 0", "--steps must be in 1 … 10000, not 0"),
    "half a step": (RUN + " --steps 2.5", "argument --steps: invalid int value: '2.5'"),
    "more periods than steps": (RUN + " --steps 3 --periods 4", "4 periods do not fit into 3 time steps"),
    "negative epsilon": (RUN + " --epsilon -0.1", "--epsilon must be in 0 … 1, not -0.1"),
    "epsilon in levels": (
        RUN + " --epsilon 8",
        "--epsilon must be in 0 … 1, not 8, because pixels lie in [0, 1]: did you mean 8/255?",
    ),
    "noise in levels": (RUN + " --noise-step 3", "did you mean 3/255?"),
    "epsilon in words": (RUN + " --epsilon abc", "'abc' is not a number (0.03 and 8/255 are)"),
    "epsilon over nothing": (RUN + " --epsilon 8/0", "'8/0' is not a number"),
    "epsilon nan": (RUN + " --epsilon nan", "--epsilon must be in 0 … 1, not nan"),
    "enormous epsilon": (RUN + f" --epsilon {10**400}/1", "/1' is not a number (0.03 and 8/255 are)"),
    "negative seed": (RUN + " --seed -1", "--seed must be in 0 … 9223372036854775806, not -1"),
    "enormous seed": (RUN + f" --seed {10**400}", f"--seed must be in 0 … 9223372036854775806, not {10**400}"),
    "unknown method": (
        RUN + " --methods hire,magic",
        "--methods must be traditional or control or gaussian or hire or hire-4x or adversarial or adversarial-ann, not 'magic'",
    ),
    "unknown crafting surrogate": (
        RUN + " --craft-surrogate sigmoid",
        "--craft-surrogate: there is no surrogate 'sigmoid': choose tri",
    ),
    "crafting surrogate of no width": (
        RUN + " --craft-surrogate arctan:x",
        "--craft-surrogate must be KIND:NUMBER with a number above 0, as in arctan:2, not 'arctan:x'",
    ),
    "time division that is none": (
        RUN + " --time-division 2+x",
        "--time-division must be numbers of time steps joined by +, as in 4+2, not '2+x'",
    ),
    "time division of other periods": (
        RUN + " --time-division 1+1+1",
        "--time-division 1+1+1 has 3 periods, but --periods is 2: give --periods 3 with it",
    ),
    "adversarial bound in levels": (RUN + " --adversarial-epsilon 8", "did you mean 8/255?"),
    "adversarial ann from a checkpoint": (
        "train adversarial-ann --from {place}/snn.npz --out {place}/new.npz",
        "an ANN starts from fresh weights: leave out --from",
    ),
    "adversarial snn without a start": (
        "train adversarial --out {place}/new.npz",
        "adversarial training starts from a converted SNN: give --from FILE",
    ),
    "no method": (RUN + " --methods ,", "--methods needs at least one of"),
    "unknown model": (RUN + " --model vgg6", "--model must be"),
    "no width": (RUN + " --width 0", "--width must be above 0"),
    # data
    "a folder for shapes": (
        "run --preset mini --data-dir {place}/cifar",
        "but the data set shapes needs no files: give the data set",
    ),
    "a public data set without its name": (
        "run --data-dir {place}/cifar",
        "{place}/cifar contains CIFAR-10: give --data cifar10 too",
    ),
    "own images that are not there": ("run --data-dir {place}/none", "there is no folder {place}/none; give a folder"),
    "own images without classes": (
        "run --data-dir {place}/pictures",
        "expected at least two, one folder of images for each class",
    ),
    "a paper in a folder of other files": ("paper table7 --out {place}/others", "holds other files, paper.md"),
    "a paper without its images": ("paper table2 --scale small --data-dir {place}/none", "no CIFAR-10 in {place}/none"),
    "a folder for mini": ("paper table2 --data-dir {place}/cifar", "but scale mini uses the data set shapes"),
    "missing folder": (RUN + " --data-dir {place}/none", "no CIFAR-10 in"),
    "no folder": ("run --data cifar10 --out {place}/new", "give the folder of its files (--data-dir or data_dir)"),
    "a file for a folder": (RUN + " --data-dir {place}/file", "no CIFAR-10 in {place}/file: expected data_batch_1.bin"),
    "part of the files": (RUN + " --data-dir {place}/partial", "lacks test_batch.bin"),
    "a file cut short": (
        RUN + " --data-dir {place}/cut",
        "data_batch_3.bin has 27656 bytes, and record 8 at byte offset 24584 ends after",
    ),
    "an impossible label": (RUN + " --data-dir {place}/odd", "label 77 at record 0"),
    "more images than there are": (RUN + " --train-limit 41", "41 images of cifar10 were requested; this split has 40"),
    "many more": (RUN + f" --train-limit {10**400}", "0 images of cifar10 were requested; this split has 40"),
    "everything held out": (RUN + " --heldout 45", "45 held-out images were requested"),
    "a size for images that have one": (RUN + " --image-size 64", "leave the size out"),
    # folders
    "a file in the way": ("run {small} --out {place}/file", "cannot write into"),
    "below a file": ("run {small} --out {place}/file/run", "cannot write into"),
    "a run already": ("run {small} --out {place}/run", "holds a run already: --resume resumes it"),
    "settings of no file": ("run --config {place}/none.json", "none.json: No such file or directory"),
    "settings in a checkpoint": ("run --config {place}/snn.npz", "is not JSON: give a file such as config.json"),
    "results instead of settings": (
        "run --config {place}/run/results.json",
        "results.json has the results of a run, not its settings: give config.json in the same folder",
    ),
    "adversarial images over a checkpoint": (
        "attack {place}/snn.npz --attacks fgsm --save-images {place}/snn.npz",
        "snn.npz exists, and --save-images did not write it: give another file, or delete it",
    ),
    "adversarial images as a picture": (
        "attack {place}/snn.npz --attacks fgsm --save-images {place}/new.png",
        "--save-images writes NumPy's .npz format: give a name that ends in .npz, not",
    ),
    "settings and a preset": (
        "run --config x.json --preset mini",
        "--config has all settings, so --preset does not apply",
    ),
    "settings and a resumed run": (
        "run --config x.json --resume",
        "--config has all settings, so --resume does not apply",
    ),
    "an exponent without end": (
        "attack {place}/snn.npz --epsilon 1e999999999/255",
        "--epsilon must be in 0 … 1, not inf",
    ),
    "a layer without end": (RUN + " --hidden 1000000000000000000", "--hidden must be in 1 … 1000000"),
    "a name after a flag": ("paper table2 --scale mini figure8", "the paper has no 'figure8'"),
    "the best of nothing": (
        "run --keep-best --heldout 0",
        "--keep-best compares accuracies on held-out images: set some aside, as with --heldout 1000",
    ),
    "every 0th epoch": ("run --keep-every 0", "--keep-every needs a number of epochs of at least 1, not 0"),
    "resume of nothing": ("run --resume --out {place}/none", "there is no run to resume in"),
    "resume of nothing here": ("run --resume", "there is no run to resume in runs/mini"),
    "resume with other settings": (
        "run --resume --out {place}/run --steps 5 --threads 1",
        "this run was started with --steps 4, not with --steps 5",
    ),
    "resume with another preset": (
        "run --resume --out {place}/run --preset vgg5-cifar10 --data-dir {place}/cifar --threads 1",
        "this run was started with",
    ),
    "resume of damaged results": (
        "run --resume --out {place}/damaged",
        "is not a results file of minihire, or it is damaged",
    ),
    "resume of other JSON": ("run --resume --out {place}/other", "is not a results file of minihire, or it is damaged"),
    "resume of bare results": (
        "run --resume --out {place}/bare",
        "is not a results file of minihire, or it is damaged",
    ),
    "resume of damaged settings": ("run --resume --out {place}/settings", "--steps must be a whole number, not 'six'"),
    "resume of newer results": (
        "run --resume --out {place}/newer",
        "has schema 99, this version reads up to 1: update minihire",
    ),
    # train
    "no such method": ("train magic " + TO, "there is no method 'magic': choose ann, traditional"),
    "no --out": ("train ann {small}", "the following arguments are required: --out"),
    "an SNN from nothing": ("train hire {small} " + TO, "hire training starts from a converted SNN: give --from FILE"),
    "an ANN from something": ("train ann --from {place}/snn.npz {small} " + TO, "leave out --from"),
    "an SNN from an ANN": ("train hire --from {place}/ann.npz {small} " + TO, "is an ANN: convert it first"),
    "an SNN from a missing file": ("train hire --from {place}/none.npz {small} " + TO, "there is no checkpoint"),
    "an SNN from a corrupt file": (
        "train hire --from {place}/corrupt.npz {small} " + TO,
        "is not a minihire checkpoint, or it is damaged",
    ),
    "training that exists": ("train ann {small} --out {place}/ann.npz", "exists: --resume resumes it"),
    "the best of another training": (
        "train ann {small} --keep-best --out {place}/kept.npz",
        "{place}/kept.best.npz exists: choose another --out",
    ),
    "an epoch of another training": (
        "train ann {small} --keep-every 2 --resume --out {place}/kept.npz",
        "{place}/kept.epoch-3.npz exists: choose another --out",
    ),
    "resume of another training": (
        "train ann {small} --out {place}/trained.npz --resume --ann-learning-rate 0.5",
        "trained with other",
    ),
    "resume of no training": (
        "train ann {small} --out {place}/ann.npz --resume",
        "holds no training to resume",
    ),
    "resume of no checkpoint": ("train ann {small} --out {place}/text.npz --resume", "is not a minihire checkpoint"),
    "training below a file": (
        "train ann {small} --out {place}/file/x.npz --ann-epochs 1",
        "cannot write {place}/file/x.npz: ",
    ),
    # convert, attack, analyze, info
    "conversion of an SNN": ("convert {place}/snn.npz " + TO, "is a spiking network already"),
    "conversion with other data": (
        "convert {place}/ann.npz --data shapes " + TO,
        "ann.npz was trained on cifar10, not on shapes: leave --data out",
    ),
    "training with other data": (
        "train hire --from {place}/snn.npz --data shapes " + TO,
        "snn.npz was trained on cifar10, not on shapes: leave --data out",
    ),
    "attack with other data": (
        "attack {place}/snn.npz --data shapes",
        "snn.npz was trained on cifar10, not on shapes: leave --data out",
    ),
    "analysis with other data": ("analyze {place}/snn.npz --data mnist", "was trained on cifar10, not on mnist"),
    "attack on unknown data": ("attack {place}/unknown.npz", "does not say which data set it was trained on"),
    "attack on other class names": (
        "attack {place}/renamed.npz --threads 1 --data-dir {place}/cifar --test-limit 20",
        "renamed.npz was trained on the classes zero, one,",
    ),
    "a source of other data": (
        "attack {place}/ann.npz --source {place}/of-shapes.npz",
        "give a source of the same data",
    ),
    "a source of other images": (
        "attack {place}/ann.npz --source {place}/grey.npz {place}/pictures",
        "grey.npz is for images (28, 28, 1) of 10 classes, {place}/ann.npz for images (32, 32, 3) of 10 classes: give a source",
    ),
    "a source of other class names": (
        "attack {place}/trained.npz --source {place}/renamed.npz",
        "renamed.npz is for the classes zero, one, 2, 3, 4, 5, 6, 7, 8, 9, {place}/trained.npz for the classes airplane,",
    ),
    "prediction without an image": ("predict {place}/ann.npz", "the following arguments are required: FILE|FOLDER"),
    "prediction without a network": (
        "predict {place}/none.npz {place}/pictures",
        "there is no checkpoint {place}/none.npz",
    ),
    "prediction by an image": (
        "predict {place}/pictures/a.png {place}/pictures",
        "a.png is not a minihire checkpoint, or it is damaged",
    ),
    "prediction of nothing": (
        "predict {place}/ann.npz {place}/none.png",
        "there is no file or folder {place}/none.png: give image files, or folders of them",
    ),
    "prediction of an empty folder": (
        "predict {place}/ann.npz {place}/run",
        "the folder {place}/run contains no images (.png .jpg",
    ),
    "prediction of text": (
        "predict {place}/ann.npz {place}/file",
        "cannot read the image {place}/file: it is not an image in one of the formats PNG, JPEG,",
    ),
    "prediction of a damaged image": (
        "predict {place}/ann.npz {place}/cut.png",
        "cannot read the image {place}/cut.png",
    ),
    "prediction of a FIFO": ("predict {place}/ann.npz {place}/fifo", "it is not a regular file"),
    "prediction by an ANN over time": (
        "predict {place}/ann.npz {place}/pictures --steps 3",
        "ann.npz is an ANN, to which --steps does not apply: leave it out",
    ),
    "prediction without time": ("predict {place}/snn.npz {place}/pictures --steps 0", "--steps must be in 1 … 10000"),
    "a seed without random spikes": (
        "predict {place}/snn.npz {place}/pictures --seed 3",
        "--seed chooses the random spikes of rate coding, which this network does not use: leave it out",
    ),
    "a seed for a measurement without random spikes": (
        "analyze {place}/snn.npz --data-dir {place}/cifar --test-limit 20 --neurobench --seed 3",
        "--seed chooses the random spikes of rate coding, which this network does not use: leave it out",
    ),
    "a seed for a packed network without random spikes": (
        "pack {place}/snn.npz --license {place}/file --data-dir {place}/cifar --test-limit 20 --seed 3",
        "--seed chooses the random spikes of rate coding, which this network does not use: leave it out",
    ),
    "a seed for attacks without random numbers": (
        "attack {place}/snn.npz --attacks fgsm --data-dir {place}/cifar --test-limit 20 --seed 3",
        "--seed chooses random numbers, which neither these attacks nor the network use: leave it out",
    ),
    "a seed for attacks on a file without random numbers": (
        "attack {place}/snn.npz {place}/pictures --attacks pgd --no-random-start --seed 3",
        "--seed chooses random numbers, which neither these attacks nor the network use: leave it out",
    ),
    "predictions over JSON of another command": (
        "predict {place}/ann.npz {place}/pictures --json {place}/figures.json",
        "`minihire predict --json` did not write it",
    ),
    "predictions over an image": (
        "predict {place}/ann.npz {place}/pictures --csv {place}/pictures/a.png",
        "`minihire predict --csv` did not write it: give another file, or delete it",
    ),
    "predictions over a link": (
        "predict {place}/ann.npz {place}/pictures --csv {place}/link.json",
        "--csv cannot replace {place}/link.json, which is not a regular file",
    ),
    "predictions of two kinds in one file": (
        "predict {place}/ann.npz {place}/pictures --threads 1 --json {place}/x.out --csv {place}/run/../x.out",
        "--json and --csv both name {place}/run/../x.out: give each of them a file of its own",
    ),
    "scores and adversarial images in one file": (
        "attack {place}/snn.npz --attacks fgsm --save-images {place}/x.npz --json {place}/x.npz",
        "--json and --save-images both name {place}/x.npz: give each of them a file of its own",
    ),
    "scores in place of a folder of adversarial images": (
        "attack {place}/snn.npz {place}/pictures --json {place}/x --save-images {place}/x",
        "--json and --save-images both name {place}/x: give each of them a file of its own",
    ),
    "predictions to standard output": ("predict {place}/ann.npz {place}/pictures --csv -", "--csv needs a file, not -"),
    "predictions below a file": (
        "predict {place}/ann.npz {place}/pictures --threads 1 --csv {place}/file/x.csv",
        "cannot write",
    ),
    "attack on a folder": ("attack {place}/models", "is a folder: give one of its checkpoints, "),
    "analysis of an empty folder": ("analyze {place}/cifar", "is a folder without checkpoints"),
    "info of a folder": (
        "info {place}/models",
        "is a folder: give one of its checkpoints, {place}/models/a.npz, {place}/models/second/b.npz",
    ),
    "attack on a device": ("attack /dev/null", "/dev/null is not a regular file: give a checkpoint"),
    "unknown surrogate": (
        "attack {place}/snn.npz --surrogate sigmoid",
        "there is no surrogate 'sigmoid': choose triangle, exponential, rectangle, arctan, straight_through, rate",
    ),
    "a surrogate without width": ("attack {place}/snn.npz --surrogate rate:2", "must be rate without a number"),
    "a surrogate's width of zero": ("attack {place}/snn.npz --surrogate arctan:0", "with a number above 0"),
    "a surrogate's width in words": ("attack {place}/snn.npz --surrogate arctan:wide", "with a number above 0"),
    "a surrogate for an ANN": ("attack {place}/ann.npz --surrogate arctan", "is an ANN, to which --surrogate"),
    "a source's surrogate that is an ANN's": (
        "attack {place}/snn.npz --source {place}/ann.npz --surrogate arctan",
        "ann.npz is an ANN, to which --surrogate does not apply: leave it out",
    ),
    "a surrogate twice": (
        "attack {place}/snn.npz --surrogate arctan --gamma 3",
        "--gamma changes the network's surrogate, which --surrogate replaces: leave one of them out",
    ),
    "a reset gradient of the rate": (
        "attack {place}/snn.npz --surrogate rate --reset-grad",
        "--surrogate rate has no gradient through the reset: leave --reset-grad out",
    ),
    "gradients of a target beside a source": (
        "attack {place}/snn.npz --source {place}/ann.npz --gamma 3",
        "but the images are crafted on ",
    ),
    "records without CUDA": (
        RUN + " --no-record",
        "--no-record applies to --device cuda only, not to cpu: leave it out",
    ),
    "hidden layers that a model has not": (
        "run {small} --out {place}/new --model resnet12",
        "resnet12 has no hidden linear layers, to which --hidden applies: leave it out",
    ),
    "hidden layers to train that a model has not": (
        "train ann --model resnet12 --hidden 9 --out {place}/new.npz",
        "resnet12 has no hidden linear layers",
    ),
    "hidden layers to show that a model has not": ("info resnet12 --hidden 10", "resnet12 has no hidden linear layers"),
    "noise of no chosen method": (
        RUN + " --methods traditional,control --noise-step 0.02",
        "--noise-step applies to gaussian, hire and hire-4x training, but --methods chooses traditional,control: leave it out",
    ),
    "periods of no chosen method": (
        RUN + " --methods traditional --periods 2",
        "--periods applies to control, gaussian, hire and hire-4x training, but --methods chooses traditional",
    ),
    "carried noise of no chosen method": (
        RUN + " --methods gaussian --no-carry-noise",
        "--carry-noise applies to hire and hire-4x training, but --methods chooses gaussian",
    ),
    "models of a scale with one": (
        "paper table2 --models vgg5",
        "scale mini has one network, vgg5: leave --models out",
    ),
    "time steps for an ANN": ("attack {place}/ann.npz --steps 3", "is an ANN, to which --steps does not apply"),
    "unknown attack": ("attack {place}/ann.npz --attacks fgsm,cw", "there is no attack 'cw': choose fgsm, pgd"),
    "no attack": ("attack {place}/ann.npz --attacks ,", "--attacks needs at least one of fgsm, pgd"),
    "iterations of FGSM": (
        "attack {place}/ann.npz --attacks fgsm --iterations 3",
        "--iterations does not apply to fgsm: leave it out",
    ),
    "images of two attacks": (
        "attack {place}/snn.npz --save-images {place}/x.npz",
        "--save-images needs a single attack",
    ),
    "images of no file": (
        "attack {place}/snn.npz --images {place}/x.npz",
        "x.npz does not exist: give one that --save-images wrote, or one with the arrays images",
    ),
    "images of a checkpoint": (
        "attack {place}/snn.npz --images {place}/snn.npz",
        "snn.npz is not a file of adversarial images: give one that --save-images wrote",
    ),
    "an attack with given images": (
        "attack {place}/snn.npz --images {place}/x.npz --attacks pgd",
        "--attacks does not apply to --images: leave it out",
    ),
    "queries of PGD": (
        "attack {place}/ann.npz --attacks pgd --queries 3",
        "--queries does not apply to pgd: leave it out",
    ),
    "no restart": (
        "attack {place}/ann.npz --restarts 0",
        "--restarts is 0: give a whole number of at least 1",
    ),
    "no query": (
        "attack {place}/ann.npz --attacks square --queries 0",
        "--queries is 0: give a whole number of at least 1",
    ),
    "a module that is missing": ("info vgg5 --module none.py", "there is no file none.py"),
    "a module in another language": ("info vgg5 --module {place}/file", "--module needs a Python file, FILE.py, not"),
    "a checkpoint of a model in a module": (
        "analyze {place}/foreign.npz",
        "foreign.npz has the model 'tiny', which minihire does not have: give --module FILE.py, the file that adds it",
    ),
    "info of a model in a module": ("info {place}/foreign.npz", "has the model 'tiny', which minihire does not have"),
    "attack on a model in a module": (
        "attack {place}/foreign.npz",
        "has the model 'tiny', which minihire does not have",
    ),
    "training of a model in a module": (
        "train hire --from {place}/foreign.npz " + TO,
        "has the model 'tiny', which minihire does not have",
    ),
    "a source that is a model in a module": (
        "attack {place}/ann.npz --source {place}/foreign.npz",
        "has the model 'tiny', which minihire does not have",
    ),
    "resume of a model in a module": (
        "run --resume --out {place}/foreign",
        "this run has the model 'tiny', which minihire does not have: give --module FILE.py",
    ),
    "a folder for a checkpoint of shapes": (
        "attack {place}/shapes.npz --data-dir {place}/cifar",
        "but the data set shapes needs no files: leave --data-dir out",
    ),
    "a module that is no Python": ("info vgg5 --module {place}/wrong.py", "wrong.py fails with SyntaxError"),
    "a module that fails": (
        "info vgg5 --module {place}/failing.py",
        "fails with ZeroDivisionError: division by zero in line 2",
    ),
    "a module that exits": ("info vgg5 --module {place}/exiting.py", "fails with SystemExit: 0 in line 1"),
    "conversion of nothing": ("convert {place}/none.npz " + TO, "there is no checkpoint"),
    "conversion onto its ANN": ("convert {place}/ann.npz --threads 1 --out {place}/ann.npz", "ann.npz exists"),
    "conversion of other classes": ("convert {place}/five.npz --threads 1 " + TO, "and 5 classes, cifar10 has"),
    "attack on nothing": ("attack {place}/none.npz", "there is no checkpoint"),
    "attack on a corrupt file": ("attack {place}/corrupt.npz", "is not a minihire checkpoint, or it is damaged"),
    "attack on other classes": ("attack {place}/five.npz --threads 1", "this checkpoint is for images of"),
    "attack on other images": ("attack {place}/grey.npz --threads 1", "this checkpoint is for images of"),
    "attack from other classes": (
        "attack {place}/ann.npz --source {place}/five.npz --threads 1",
        "five.npz is for images (32, 32, 3) of 5 classes, {place}/ann.npz for images (32, 32, 3) of 10 classes: give a source",
    ),
    "attack without steps": ("attack {place}/snn.npz --steps 0", "--steps must be in 1 … 10000, not 0"),
    "attack without iterations": ("attack {place}/snn.npz --iterations 0", "--iterations must be in 1 … 100000, not 0"),
    "attack with a negative step": ("attack {place}/snn.npz --alpha=-1", "--alpha must be in 0 … 1, not -1"),
    "scores below a file": (
        "attack {place}/ann.npz --threads 1 --json {place}/file/x.json",
        "cannot write {place}/file/x.json: ",
    ),
    "scores in a folder": ("analyze {place}/ann.npz --json {place}", "which is not a regular file: give another file"),
    "scores over a checkpoint": (
        "attack {place}/ann.npz --json {place}/snn.npz",
        "`minihire attack --json` did not write",
    ),
    "scores over a run's results": (
        "attack {place}/ann.npz --json {place}/run/results.json",
        "exists, and `minihire attack",
    ),
    "scores over other JSON": (
        "attack {place}/ann.npz --json {place}/other/results.json",
        "exists, and `minihire attack",
    ),
    "scores over figures": (
        "attack {place}/ann.npz --json {place}/figures.json",
        "`minihire attack --json` did not write it",
    ),
    "scores over a device": ("info vgg5 --json /dev/null", "cannot replace /dev/null, which is not a regular file"),
    "scores over a FIFO": ("analyze {place}/ann.npz --json {place}/fifo", "which is not a regular file"),
    "scores over a link": ("attack {place}/ann.npz --json {place}/link.json", "which is not a regular file"),
    "training over a link": ("train ann {small} --out {place}/dangling.npz", "exists: --resume resumes it"),
    "training into a FIFO": ("train ann {small} --resume --out {place}/fifo", "fifo exists: choose another --out"),
    "conversion over a link": ("convert {place}/ann.npz --out {place}/dangling.npz", "dangling.npz exists"),
    "conversion over a FIFO": ("convert {place}/ann.npz --out {place}/fifo", "fifo exists: choose another --out"),
    "an export over a link": ("export {place}/ann.npz --out {place}/dangling.pt", "dangling.pt exists"),
    "an export of no format": ("export {place}/ann.npz --out {place}/x.gguf", "does not name a format: end it in .pt"),
    "an export of two formats": ("export {place}/ann.npz --out {place}/x.pt --to nir", "--to nir contradicts"),
    "a report over a link": ("report {place}/run --out {place}/dangling.npz", "because it is not a regular file"),
    "a run in a folder of others' figures": ("run {small} --out {place}/figures", "holds other files"),
    "analysis of text": ("analyze {place}/text.npz", "is not a minihire checkpoint, or it is damaged"),
    "report of nothing": ("report {place}/none", "there is no {place}/none: give a run's folder"),
    "report of a file": ("report {place}/file", "/file is not a result of `minihire attack --suite`, or it is damaged"),
    "report of a run's results": ("report {place}/run/results.json", "or the folder of a run"),
    "report of damaged results": ("report {place}/damaged", "is not a results file of minihire, or it is damaged"),
    "report of other JSON": ("report {place}/other", "is not a results file of minihire, or it is damaged"),
    "report of newer results": ("report {place}/newer", "has schema 99, this version reads up to 1: update minihire"),
    "report of two without a file": ("report {place}/run {place}/run", "give --out FILE"),
    "report over the results": ("report {place}/run --out {place}/run/results.json", "is not a report of minihire"),
    "report below a file": ("report {place}/run --out {place}/file/x.html", "cannot write {place}/file/x.html: "),
    "report of no folder": ("report", "the following arguments are required: DIR|FILE"),
    "a width for a checkpoint": ("info {place}/ann.npz --width 0.5", "--width describes a model by name: leave it out"),
    "info of nothing": ("info vgg6", "there is no model 'vgg6': choose vgg5"),
    "info of a missing checkpoint": ("info nothing.npz", "there is no checkpoint nothing.npz"),
    "info of a corrupt file": ("info {place}/corrupt.npz", "is not a minihire checkpoint, or it is damaged"),
    "info of tiny images": ("info vgg11 --image-shape 4 4 3", "halves the image too often for 4×4 pixels"),
    "info without colours": (
        "info vgg5 --image-shape 32 32 0",
        "the image shape is [32, 32, 0]: give (height, width, channels)",
    ),
    "info of negative images": (
        "info vgg5 --image-shape 32 -32 3",
        "the image shape is [32, -32, 3]: give (height, width, channels)",
    ),
    "info of one class": ("info vgg5 --classes 1", "the number of classes is 1: give a whole number of at least 2"),
    "info of no width": ("info vgg5 --width nan", "--width must be above 0, at most 8, not nan"),
    "info of infinite width": ("info vgg5 --width inf", "--width must be above 0, at most 8, not inf"),
    "info of enormous width": ("info vgg5 --width 1e307", "--width must be above 0, at most 8, not 1e+307"),
    "info of more width than a run has": ("info vgg5 --width 8.5", "--width must be above 0, at most 8, not 8.5"),
    "a folder with a zero byte": (
        "run --config {place}/zero-byte.json",
        "--data-dir must be text without a zero byte, not 'a\\x00b'",
    ),
}
LONG = 300 * "n"  # more bytes than the name of a file may have
TOO_LONG = (
    "info {long}.npz",
    "info vgg5 --module {long}.py",
    "analyze {long}",
    "analyze {place}/ann.npz --data-dir {long}",
    "attack {long}",
    "attack {place}/ann.npz {long}",
    "attack {place}/ann.npz --source {long}",
    "attack {place}/ann.npz --data-dir {place}/cifar --test-limit 20 --json {long}",
    "attack {place}/ann.npz --data-dir {place}/cifar --test-limit 20 --suite parity --json {long}",
    "predict {long} {place}/pictures",
    "predict {place}/ann.npz {long}",
    "convert {long} " + TO,
    "report {long}",
    "report {place}/run --out {long}",
    "run --out {long}",
    "run --data-dir {long}",
    "run --data cifar10 --data-dir {long}",
    "run --config {long}",
    "train ann --out {long}",
    "train hire --from {long} " + TO,
    "train ann --data-dir {long} " + TO,
    "export {long}",
    "demo 1 --check {long}.py",
    "paper table2 --scale small --data-dir {long}",
)


def test_no_case_is_satisfied_by_nearly_every_message():
    assert [name for name, (_, expected) in CASES.items() if len(expected) <= 8] == []


def files_below(folder):
    """{path: content} of everything in a folder, None for a folder. A refused command adds nothing."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(("arguments", "expected"), CASES.values(), ids=CASES)
def test_wrong_input_is_one_sentence(place, monkeypatch, tmp_path, capsys, arguments, expected):
    monkeypatch.chdir(tmp_path)
    before = files_below(place)
    parts = [part.format(place=place) for part in arguments.split() if part != "{small}"]
    at = arguments.split().index("{small}") if "{small}" in arguments else None
    if at is not None:
        words = arguments.split()
        parts[at:at] = [*small(place / "cifar", " ".join(words[: 1 + (words[0] == "train")])), *EXECUTION]
    assert cli.main(parts) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"minihire: [^\n]+\n", error) and expected.replace("{place}", str(place)) in error, error
    assert files_below(place) == before and files_below(tmp_path) == {}


@pytest.mark.parametrize("arguments", TOO_LONG)
def test_a_name_too_long_is_one_sentence(place, monkeypatch, tmp_path, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    before = files_below(place)
    assert cli.main([part.format(place=place, long=LONG) for part in arguments.split()]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(rf"minihire: [^\n]*{LONG}[^\n]*: File name too long; [^\n]+\n", error), error
    assert files_below(place) == before and files_below(tmp_path) == {}


def test_an_error_of_the_system_without_a_file_is_one_sentence(monkeypatch, capsys):
    def fail(path):
        raise OSError("the disk is gone")

    monkeypatch.setattr("minihire.app.info.open_checkpoint", fail)
    assert cli.main(["info", "x.npz"]) == 2
    assert capsys.readouterr().err == "minihire: the disk is gone; give another file or folder\n"


@pytest.mark.parametrize(
    ("command", "error", "said"),
    [
        ("info", MemoryError("3 GiB"), "not enough memory (3 GiB): choose a smaller --width or --hidden"),
        ("predict", MemoryError(), "not enough memory: choose a smaller --time-chunk"),
        ("report", MemoryError(), "not enough memory: close other programs"),
    ],
)
def test_if_memory_runs_out_only_flags_of_the_command_are_named(tmp_path, monkeypatch, capsys, command, error, said):
    def fail(*_):
        raise error

    for name in ("info.open_checkpoint", "predict.open_checkpoint", "report.page.read"):
        monkeypatch.setattr(f"minihire.app.{name}", fail)
    assert cli.main([command, str(tmp_path), *(["x.png"] if command == "predict" else [])]) == 2
    assert capsys.readouterr().err == f"minihire: {said}\n"


def test_a_wrong_flag_makes_no_folder(place, tmp_path):
    assert command("run", *small(place / "cifar"), "--out", tmp_path / "new", "--backend", "abacus")[0] == 2
    assert command("run", *small(place / "none"), "--out", tmp_path / "new")[0] == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("what", ["train ann", "train hire", "convert"])
def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_work(place, monkeypatch, capsys, what):
    for name in ("train.train_one", "convert.convert_one"):
        monkeypatch.setattr(f"minihire.app.{name}", None)
    start = {"train ann": [], "train hire": ["--from", place / "snn.npz"], "convert": [place / "ann.npz"]}[what]
    path = place / "file" / "x.npz"
    assert command(*what.split(), *start, *small(place / "cifar", what), *EXECUTION, "--out", path)[0] == 2
    assert capsys.readouterr().err.startswith(f"minihire: cannot write {path}: ")


def test_an_error_in_a_locked_folder_leaves_what_was_there(tmp_path):
    """Empty folders are deleted only if they are new, the lock's file always: a process that was killed left an old one."""
    for made in ((), ("old",), ("old", "old/content")):
        for name in made:
            (tmp_path / name).write_text("") if "/" in name else (tmp_path / name).mkdir(exist_ok=True)
        before = files_below(tmp_path)
        with pytest.raises(MinihireError, match="refused"), folders.lock(tmp_path / "old" / "new"):
            assert (tmp_path / "old" / "new" / ".lock").exists()
            raise MinihireError("refused")
        with pytest.raises(MinihireError, match="refused"), folders.lock(tmp_path / "old"):
            raise MinihireError("refused")
        assert files_below(tmp_path) == before
    with pytest.raises(MinihireError, match="refused"), folders.lock(tmp_path / "run"):
        (tmp_path / "run" / "results.json").write_text("{}")
        raise MinihireError("refused")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["results.json"]
    (tmp_path / "run" / ".lock").touch()
    with folders.lock(tmp_path / "run"):
        pass
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["results.json"]


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_a_training_that_diverges_is_one_sentence_too(place, tmp_path, capsys, backend):
    wild = ["--ann-learning-rate", 10, "--weight-decay", 1, "--ann-schedule", "step", "--ann-epochs", 50]
    arguments = [
        "train",
        "ann",
        *small(place / "cifar", "train ann"),
        *EXECUTION,
        *wild,
        "--backend",
        backend,
        "--out",
        tmp_path / "x.npz",
    ]
    assert command(*arguments)[0] == 2
    sentence = (
        r"minihire: ann met a value that is not finite in epoch \d+, batch [1-4]: .*; lower the learning rate.*\n"
    )
    assert re.fullmatch(sentence, capsys.readouterr().err)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="an administrator may write anywhere")
def test_a_folder_that_cannot_be_written(place, tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert command("run", *small(place / "cifar"), "--out", tmp_path / "new")[0] == 2
    assert "cannot write into" in capsys.readouterr().err


def test_a_run_that_appeared_while_the_images_were_read_is_kept(place, tmp_path, monkeypatch, capsys):
    def slowly(*arguments):
        (tmp_path / "results.json").write_bytes((place / "run" / "results.json").read_bytes())
        return open_data(*arguments)

    open_data = run.open_data
    monkeypatch.setattr(run, "open_data", slowly)
    assert command("run", *small(place / "cifar"), "--out", tmp_path)[0] == 2
    assert "holds a run already: --resume resumes it" in capsys.readouterr().err
    assert (tmp_path / "results.json").read_bytes() == (place / "run" / "results.json").read_bytes()


def test_a_signal_while_the_stream_is_written_still_stops_the_work(monkeypatch):
    def reentrant(*_, **__):
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")

    monkeypatch.setattr("builtins.print", reentrant)
    with pytest.raises(Interrupted), StopSignal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested


def test_the_environment_s_backend_must_exist_too(place, monkeypatch, capsys):
    monkeypatch.setenv("MINIHIRE_BACKEND", "abacus")
    assert command("attack", place / "ann.npz")[0] == 2
    assert "there is no backend 'abacus'" in capsys.readouterr().err


HOLDER = """
import sys
from pathlib import Path
from minihire.app import folders
with folders.lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_run_in_use_by_another_process_is_refused_until_that_ends(place, capsys):
    before = files_below(place)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place / "run")],
        cwd=ROOT,
        env=plain(PYTHONPATH=str(ROOT)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        for arguments in (["--resume"], small(place / "cifar")):
            assert command("run", *arguments, "--out", place / "run")[0] == 2
            assert re.fullmatch(
                r"minihire: .*run is in use by another run: wait for it, or choose another --out\n",
                capsys.readouterr().err,
            )
        process.kill()  # the system releases what it held
        process.wait()
        with folders.lock(place / "run"):
            pass
    finally:
        process.kill()
        process.communicate()
    assert files_below(place) == before


@pytest.mark.skipif(os.name == "nt", reason="needs flock")
@pytest.mark.parametrize("name", ["run", "paper", "train"])
def test_an_output_in_use_is_refused_by_every_command_that_writes_for_long(place, tmp_path, monkeypatch, capsys, name):
    for work in ("run.Run", "paper.reproduce", "train.train_one"):
        monkeypatch.setattr(f"minihire.app.{work}", None)
    out = tmp_path / ("new.npz" if name == "train" else "new")
    what = "train ann" if name == "train" else name
    arguments = ["table7"] if name == "paper" else small(place / "cifar", what)
    with only_writer(out) if name == "train" else folders.lock(out):
        before = files_below(tmp_path)
        assert command(*what.split(), *arguments, "--out", out)[0] == 2
        said = "is being written by another process" if name == "train" else "is in use by another run"
        assert capsys.readouterr().err == f"minihire: {out} {said}: wait for it, or choose another --out\n"
        assert files_below(tmp_path) == before


# ---------------------------------------------------------------- Ctrl-C in a process of its own

INTERRUPTED = """
import signal, sys
from minihire.app import cli
from minihire.study import stores
from minihire.runtime import progress
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
where, arguments, start, say = sys.argv[1], sys.argv[2:], progress.Progress.__init__, stores.say

def starting(self, label, *rest, **options):
    start(self, label, *rest, **options)
    if label == where:
        signal.raise_signal(signal.SIGINT)

def saying(line=""):
    say(line)
    if line == where:
        signal.raise_signal(signal.SIGINT)

progress.Progress.__init__, stores.say = starting, saying
sys.exit(cli.main(arguments))
"""


@pytest.fixture(scope="module")
def expected(place, tmp_path_factory):
    """Accuracies of the run without a stop."""
    out = tmp_path_factory.mktemp("run") / "run"
    assert command("run", *flags(place), "--out", out)[0] == 0
    return scores(results_of(out))


def flags(place):
    return [*small(place / "cifar", methods="hire", ann_epochs=8), "--no-black-box", *EXECUTION]


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Drawing takes longer than a small run."""
    monkeypatch.setattr("minihire.app.run.draw_all", lambda results, folder: [])


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    "where", ["ann", "conversion", "hire", "── clean test images: ann", "pgd", "── analysis: hire"]
)
def test_ctrl_c_in_every_phase_is_one_sentence_and_resume_finishes(place, expected, tmp_path, where):
    arguments = [str(a) for a in ("run", *flags(place), "--out", tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, where, *arguments],
        cwd=ROOT,
        env=plain(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130
    assert re.fullmatch(r"\n?minihire: stopped[^\n]+\n", done.stderr)
    assert command("run", "--resume", "--out", tmp_path / "run", *EXECUTION)[0] == 0
    assert scores(results_of(tmp_path / "run")) == expected


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_from_outside_stops_a_training_after_its_batch(place, tmp_path, number):
    arguments = [
        str(a)
        for a in (
            "train",
            "ann",
            *small(place / "cifar", "train ann", ann_epochs=100_000),
            "--threads",
            1,
            "--out",
            tmp_path / "ann.npz",
        )
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "minihire", *arguments],
        cwd=ROOT,
        env=plain(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # the tests may run under nohup, which ignores SIGHUP
    )
    try:
        # of many short epochs, not every one has a line
        while not re.search(r"epoch +(?!1/)\d+/", process.stdout.readline()):
            assert process.poll() is None
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in out
    assert re.fullmatch(
        r"minihire: stopped ann in epoch \d+ after batch \d; saved in .*ann\.npz; --resume resumes it\n", error
    )
    position = checkpoint.load(tmp_path / "ann.npz").meta["training"]["position"]
    assert position["epoch"] >= 2 and np.isfinite(position["sums"]["loss"])
