"""report.html: everything in results.json, nothing else, nothing from outside, and no text of a file taken for markup."""

import copy
import json
import os
import re
import shlex
import sys

import pytest
from page_reader import by_id, nodes, read_page, table_rows, text_of

from minihire.analysis import Score
from minihire.app import cli, flags
from minihire.report import classes, page, sections, settings, words
from minihire.report.marks import COLOURS
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import Interrupted
from minihire.runtime.progress import duration
from minihire.study.results import Results
from minihire.study.settings import preset
from minihire.study.titles import TITLES

EVIL = "<script>alert('x')</script>&\"<img src=x onerror=alert(1)>"
MISSING = object()
SECTIONS = [
    "accuracy",
    "classes",
    "images",
    "noise",
    "spikes",
    "energy",
    "training",
    "cost",
    "neurons",
    "time",
    "settings",
    "again",
    "machine",
]


def single(folder):
    return page.single(page.read(folder))


def row_of(root, start):
    """The one row of a part of the page that starts so."""
    (found,) = [row for row in table_rows(root) if row[0] == start]
    return found


# ---------------------------------------------------------------- structure


def test_sections_in_order_and_every_link_leads_to_one(made):
    assert [n.attributes["id"] for n in nodes(made, "section")] == SECTIONS
    names = [n.attributes["id"] for n in nodes(made) if "id" in n.attributes]
    assert len(set(names)) == len(names)
    links = [n.attributes["href"] for n in nodes(made, "a")]
    assert [link[1:] for link in links if link.startswith("#")] == SECTIONS
    assert [link for link in links if not link.startswith("#")] == ["https://arxiv.org/abs/2110.11417"]
    assert len(list(nodes(made, "h1"))) == 1 and len(list(nodes(made, "h2"))) == len(SECTIONS)


def test_the_page_loads_nothing_and_runs_no_script(tiny, made):
    names = {n.name for n in nodes(made)}
    assert not names & {"script", "link", "iframe", "object", "base", "form"}
    assert all(n.attributes["src"].startswith("data:image/png;base64,") for n in nodes(made, "img"))
    (style,) = nodes(made, "style")
    assert not re.search(r"url\(|@import", "".join(style.children))
    assert not [key for n in nodes(made) for key in n.attributes if key.startswith("on")]
    assert len(single(tiny[0]).encode()) < 1_000_000


def test_pictures_and_tables_say_what_they_are(made):
    assert all(n.attributes["alt"] for n in nodes(made, "img"))
    for n in nodes(made, "svg"):
        assert n.attributes.get("aria-hidden") == "true" or (
            n.attributes["role"] == "img" and n.attributes["aria-label"]
        )
    assert all(n.attributes["scope"] in ("row", "col") for n in nodes(made, "th"))
    for row in nodes(made, "tbody"):
        assert all(next(nodes(tr)).name == "th" for tr in nodes(row, "tr"))


def test_the_style_has_a_colour_for_every_network_and_a_dark_page(made):
    (style,) = nodes(made, "style")
    css = "".join(style.children)
    for name, colour in COLOURS.items():
        assert f"--{name}:{colour};" in css and f".s-{name}{{" in css
    dark = css[css.index("prefers-color-scheme:dark") :]
    assert "--ann:#f4f4f2" in dark[: dark.index("}}")]  # black on black otherwise
    assert "@media print" in css and css.count("{") == css.count("}")


def test_the_same_results_make_the_same_page(tiny):
    assert single(tiny[0]) == single(tiny[0])


# ---------------------------------------------------------------- numbers


def test_accuracies_intervals_and_counts_are_those_of_the_results(tiny, made):
    section = by_id(made, "accuracy")
    header, *rows = table_rows(section)
    assert header == ["accuracy, %", "clean", "FGSMwhite box", "PGDwhite box", "FGSMblack box", "PGDblack box"]
    columns = [
        ("clean", "none"),
        ("white_box", "fgsm"),
        ("white_box", "pgd"),
        ("black_box", "fgsm"),
        ("black_box", "pgd"),
    ]
    titles = {title: name for name, title in TITLES.items()}
    assert [titles[row[0]] for row in rows] == ["ann", "converted", "traditional", "gaussian", "hire"]
    found = {(r["model"], r["access"], r["attack"]): r for r in tiny[1]["accuracy"]}
    for row in rows:
        for column, cell in zip(columns, row[1:], strict=True):
            r = found.pop((titles[row[0]], *column), None)
            if r is None:
                assert cell == "–" and row[0] == "converted SNN"
            else:
                assert cell == (
                    f"{100 * r['accuracy']:.1f} [{100 * r['low']:.1f}, {100 * r['high']:.1f}]{r['correct']} of {r['count']}"
                )
    assert not found


def test_every_interval_is_drawn_where_it_lies(tiny, made):
    """A strip's marker and whisker, read back from their coordinates."""
    strips = [n for n in nodes(by_id(made, "accuracy"), "svg") if n.attributes.get("class") == "strip"]
    rows = {f"{100 * r['accuracy']:.1f}|{100 * r['low']:.1f}": r for r in tiny[1]["accuracy"]}
    assert len(strips) == len(tiny[1]["accuracy"])
    for strip in strips:
        rails = [n for n in nodes(strip, "line") if n.attributes["class"] == "rail"]
        left, right = (float(rails[0].attributes[key]) for key in ("x1", "x2"))
        share = lambda x, left=left, right=right: (float(x) - left) / (right - left)
        whisker = next(n for n in nodes(strip, "line") if "whisker" in n.attributes["class"])
        mark = next(nodes(strip, "path"))
        label = strip.attributes["aria-label"]
        mean, low = re.search(r"([\d.]+) %, 95 % interval \[([\d.]+)", label).groups()
        row = rows[f"{mean}|{low}"]
        assert share(mark.attributes["transform"].split("(")[1].split()[0]) == pytest.approx(row["accuracy"], abs=2e-3)
        assert share(whisker.attributes["x1"]) == pytest.approx(row["low"], abs=2e-3)
        assert share(whisker.attributes["x2"]) == pytest.approx(row["high"], abs=2e-3)


def test_energies_of_both_first_layer_modes_and_both_formats(tiny, made):
    rows = table_rows(by_id(made, "energy"))
    for name, both in tiny[1]["energy"].items():
        for mode, told in (
            ("first_layer_once", "first layer once"),
            ("first_layer_every_step", "first layer every step"),
        ):
            (row,) = [row for row in rows if row[0] == TITLES[name] + told]
            for value, ratio, kind in ((row[1], row[2], "fp32"), (row[3], row[4], "int32")):
                assert float(value) == pytest.approx(both[mode][kind]["total_pj"] / 1e6, rel=5e-3)
                assert ratio == f"{both[mode][kind]['ratio']:.1f}×"
    bars = [n for n in nodes(by_id(made, "energy"), "rect") if n.attributes["class"].startswith("bar ")]
    widths = [float(n.attributes["width"]) for n in bars]
    totals = [
        both["first_layer_once"][kind]["total_pj"] for kind in ("fp32", "int32") for both in tiny[1]["energy"].values()
    ]
    half = len(totals) // 2
    for part in (slice(half), slice(half, None)):
        scale = [w / t for w, t in zip(widths[part], totals[part], strict=True)]
        assert scale == pytest.approx([scale[0]] * half, rel=1e-2)  # one linear scale from 0


@pytest.mark.parametrize(
    ("picojoules", "told"),
    [(5.77e6, "5.77"), (2.1e6, "2.10"), (1.5e9, "1,500"), (1e4, "0.0100"), (64, "0.000064"), (0, "0.000000")],
)
def test_energies_have_three_digits(picojoules, told):
    assert sections.microjoules(picojoules) == told


def test_activity_distances_and_operations(tiny, made):
    spikes = by_id(made, "spikes")
    for name, rows in tiny[1]["activity"].items():
        rates = [row["tasa"] for row in rows if row["tasa"] is not None]
        if rates:
            assert [row for row in table_rows(spikes) if row[0] == TITLES[name]][0][1:] == [f"{r:.4f}" for r in rates]
    for name, distance in tiny[1]["distance"].items():
        assert [row for row in table_rows(spikes) if row[0] == TITLES[name]][-1][1] == f"{distance['pixels']:.3f}"
    operations = table_rows(by_id(made, "energy"))
    for layer in tiny[1]["energy"]["hire"]["first_layer_once"]["layers"]:
        assert any(row[:3] == [layer["name"], layer["kind"], f"{layer['dense']:,}"] for row in operations)


def test_training_curves_and_last_epochs(tiny, made):
    section = by_id(made, "training")
    for name, model in tiny[1]["models"].items():
        if model["history"]:
            last, title = model["history"][-1], words.network_name(name)
            assert row_of(section, title)[1:] == [
                str(model["seed"]),
                str(len(model["history"])),
                f"{last['loss']:.3f}",
                f"{100 * last['accuracy']:.1f}",
                f"{100 * last['heldout_accuracy']:.1f}",
            ]
    points = [n.attributes["points"].split() for n in nodes(section, "polyline")]
    assert [len(p) for p in points[:3]] == [2, 2, 2] and len(
        points
    ) == 3 * 4  # loss, training, held-out of four networks


def test_the_cost_of_every_training_is_passes_time_steps_and_epochs(tiny, made):
    """Periods N = 2, T = 4: every SNN training has four time steps per batch, in one or two gradient passes."""
    section = by_id(made, "cost")
    assert row_of(section, "ANN")[1:] == ["1", "1", "2", "2"]
    assert row_of(section, "traditional SNN")[1:] == ["1", "4", "1", "4"]
    assert row_of(section, "HIRE-SNN")[1:] == ["2", "4", "1", "4"]


def test_a_run_of_a_version_that_recorded_no_cost_has_no_section_for_it(tiny, folder_of):
    models = {name: {k: v for k, v in model.items() if k != "cost"} for name, model in tiny[1]["models"].items()}
    page_ = read_page(page.single(page.read(folder_of(models=models))))
    assert "cost" not in [n.attributes.get("id") for n in nodes(page_, "section")]


def test_thresholds_and_leaks_of_every_layer_are_drawn(tiny, made):
    tips = [text for n in nodes(by_id(made, "neurons"), "title") for text in n.children]
    for name in ("converted", "traditional", "gaussian", "hire"):
        for kind in ("thresholds", "leaks"):
            for layer, value in tiny[1]["models"][name][kind].items():
                assert f"{name}, {layer}: {value:.4g}" in tips


def test_times_and_memory_of_every_phase(tiny, made):
    section = by_id(made, "time")
    for name, phase in tiny[1]["phases"].items():
        row = row_of(section, name)
        assert row[1] == duration(phase["seconds"]) and row[3] == f"{phase['peak_memory_bytes'] / 2**20:,.0f} MiB"
    assert row_of(section, "total")[1] == duration(sum(p["seconds"] for p in tiny[1]["phases"].values()))


def test_every_attacked_image_with_its_prediction(tiny, made):
    section, classes = by_id(made, "images"), tiny[1]["data"]["classes"]
    images = {n.attributes["src"].split(",")[1] for n in nodes(section, "img")}
    rows = table_rows(section)
    for name in tiny[1]["energy"]:
        examples = [e for e in tiny[1]["examples"] if e["model"] == name]
        (row,) = [row for row in rows if row[0].startswith(TITLES[name])]
        for cell, e in zip(row[1:], examples, strict=True):
            mark = "✓" if e["attacked_prediction"] == e["label"] else "✗"
            star = "" if e["clean_prediction"] == e["label"] else "*"
            assert cell == f"{mark} {classes[e['attacked_prediction']]}{star}"
            assert e["attacked_png"] in images
    assert rows[1] == ["test image", *(classes[e["label"]] for e in examples)]


def test_kappa_beside_its_images(tiny, made):
    images = [n.attributes["src"].split(",")[1] for n in nodes(by_id(made, "noise"), "img")]
    kept = [tiny[1]["models"][name]["noise"] for name in ("gaussian", "hire")]
    assert images == [pair[key] for noise in kept for pair in noise["images"] for key in ("image_png", "kappa_png")]


def test_every_spike_of_the_trains_is_drawn(tiny, made):
    drawn, kinds = dict.fromkeys("bca", 0), {"both": "b", "gone": "c", "new": "a"}
    for n in nodes(by_id(made, "spikes"), "svg"):
        if "raster" in n.attributes.get("class", ""):
            for path in nodes(n, "path"):
                if path.attributes["class"] in kinds:
                    drawn[kinds[path.attributes["class"]]] += path.attributes["d"].count("M")
    trains = "".join(t for layers in tiny[1]["spike_trains"].values() for layer in layers for t in layer["trains"])
    assert drawn == {letter: trains.count(letter) for letter in "bca"} and sum(drawn.values()) > 50


def test_the_summary_tells_the_settings(tiny, made):
    _, lede = [text_of(n) for n in nodes(next(nodes(made, "header")), "p")][1:3]
    for part in (
        "48 training and 10 held-out images of shapes (10 classes, 32 × 32 × 3); accuracy is measured on 20 test images.",
        "VGG5 (width 0.03125, hidden layers of 12) was trained as an ANN for 2 epochs",
        "T = 4 time steps with direct input coding",
        "for 1 epoch by traditional training, with Gaussian noise and with HIRE (N = 2 periods, εs = 0.013).",
        "FGSM and PGD-2 (α = 0.01) at ε = 8/255, white box, and black box with images crafted on networks of seed 1.",
        "Seed 0, one run.",
        "on the CPU with 1 thread (numba backend, float32)",
    ):
        assert part in lede
    notices = [text_of(p) for n in nodes(made, "aside") for p in nodes(n, "p")]
    assert notices == [f"Warning: {sentence}" for sentence in tiny[1]["warnings"]]  # finished


# ---------------------------------------------------------------- settings and the command


def test_every_setting_is_there(tiny, made):
    rows = {row[0]: row[1] for row in table_rows(by_id(made, "settings"))}
    for name in tiny[1]["config"].keys() - {"preset"}:
        assert f"--{name.replace('_', '-')}" in rows
    assert (rows["--steps"], rows["--methods"], rows["--freeze"]) == ("4", "traditional, gaussian, hire", "no")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mini", {}),
        (
            "mini",
            {"epsilon": 16 / 255, "augment": False, "methods": ("hire", "control"), "reset_grad": True, "seed": 7},
        ),
        ("cifar10-small", {"data_dir": "/data/my cifar", "noise_step": 0.02, "black_box": False, "epsilon": 0.1}),
        ("vgg5-cifar10", {"width": 0.25, "hidden": 256, "time_chunk": 2}),
    ],
)
def test_the_command_gives_the_same_settings(name, changes):
    config = preset(name, **changes)
    results = {"config": json.loads(json.dumps(config.describe())), "machine": {"backend": "numba", "device": "cpu"}}
    program, run, *given = shlex.split(settings.command(results))
    parser = flags.Parser()
    flags.add_preset(parser)
    flags.add_settings(parser, [f.name for f in flags.CONFIG_FIELDS])
    options = parser.parse_args(given)
    assert (program, run) == ("minihire", "run")
    assert preset(getattr(options, "preset", "mini"), **flags.given_settings(options)) == config


def test_the_command_names_backend_and_processes():
    machine = {"backend": "torch", "device": "cuda", "precision": "tf32", "ranks": 2}
    told = settings.command({"config": preset("mini").describe(), "machine": machine})
    assert told == "torchrun --nproc-per-node 2 -m minihire run --backend torch --device cuda --precision tf32"


# ---------------------------------------------------------------- text that is not markup


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such folder names")
def test_no_text_of_a_file_becomes_markup(tiny, folder_of):
    content = copy.deepcopy(tiny[1])
    content["data"] |= {"classes": [EVIL] * 10, "name": EVIL}
    content["config"] |= {"data_dir": EVIL, "model": EVIL, "preset": EVIL, EVIL: EVIL}
    content["machine"] |= {"system": EVIL, "device": EVIL, EVIL: EVIL}
    content["warnings"] = [EVIL]
    content["phases"] = {EVIL: {**content["phases"]["train ann"], "computed_by": EVIL}}
    content["models"][EVIL] = content["models"].pop("hire")
    for example in content["examples"]:
        example["attack"] = EVIL
    content["examples"][0]["clean_png"] = content["examples"][0]["clean_png"] + '"><script>alert(1)</script>'
    content["examples"][0]["attacked_png"] = content["examples"][1]["attacked_png"]
    for row in content["accuracy"]:
        row["model"] = row["model"].replace("hire", EVIL)
    content["activity"][EVIL] = content["activity"].pop("hire")
    content["spike_trains"][EVIL] = content["spike_trains"].pop("hire")
    content["spike_trains"][EVIL][0]["name"] = EVIL
    content["energy"][EVIL] = content["energy"].pop("hire")
    content["energy"][EVIL]["first_layer_once"]["layers"][0]["name"] = EVIL
    content["distance"][EVIL] = content["distance"].pop("hire") | {"attack": EVIL}
    content["minihire"] = EVIL
    for text in (
        single(folder_of("<script>alert(1)<", **content)),
        page.comparison([page.read(folder_of("a<b>", **content)), page.read(tiny[0])]),
    ):
        assert "<script" not in text.lower() and "<img src=x" not in text
        root = read_page(text)  # balanced, so nothing broke out of its place
        assert not [key for n in nodes(root) for key in n.attributes if key.startswith("on")]
        assert "alert('x')" in text_of(root)  # it is there, as text


# ---------------------------------------------------------------- parts that are missing


def test_a_run_without_results_yet_has_a_page(tiny, folder_of, tmp_path):
    empty = {key: type(value)() for key, value in tiny[1].items() if isinstance(value, dict | list)}
    kept = {key: tiny[1][key] for key in ("config", "machine")}
    root = read_page(single(folder_of(**{**empty, **kept, "finished": False})))
    assert [n.attributes["id"] for n in nodes(root, "section")] == ["settings", "again", "machine"]
    (told,) = nodes(root, "aside")
    assert text_of(told).startswith("Not finished. This page shows the results so far.")
    assert f"minihire run --resume --out {tmp_path / 'run'}" in text_of(told)


def test_a_run_stopped_in_its_attacks_shows_what_it_has(tiny, folder_of):
    accuracy = [row for row in tiny[1]["accuracy"] if row["access"] == "clean"]
    changes = {"accuracy": accuracy, "activity": {}, "energy": {}, "distance": {}, "examples": [], "spike_trains": {}}
    root = read_page(single(folder_of(finished=False, **changes)))
    ids = [n.attributes["id"] for n in nodes(root, "section")]
    assert ids == [
        "accuracy",
        "classes",
        "noise",
        "training",
        "cost",
        "neurons",
        "time",
        "settings",
        "again",
        "machine",
    ]
    assert table_rows(by_id(root, "accuracy"))[0] == ["accuracy, %", "clean"]
    assert "Its last phase was “analysis”." in text_of(next(nodes(root, "aside")))


def test_results_of_an_earlier_version(tiny, folder_of):
    content = copy.deepcopy(tiny[1])
    del content["spike_trains"], content["machine"]["processor"], content["machine"]["started"]
    del content["machine"]["ranks"], content["machine"]["precision"]
    for model in content["models"].values():
        model.pop("noise", None)
    for phase in content["phases"].values():
        del phase["computed_by"]
    folder = folder_of()
    content.pop("checksum", None)  # the file is edited
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")
    root = read_page(single(folder))
    assert [n.attributes["id"] for n in nodes(root, "section")] == [name for name in SECTIONS if name != "noise"]
    assert "The version of minihire that made this run did not record spike trains." in text_of(root)


def test_warnings_come_first(folder_of):
    root = read_page(single(folder_of(warnings=["neuron1 never fires", "neuron2 always fires"])))
    (told,) = nodes(root, "aside")
    assert text_of(told) == "Warning: neuron1 never firesWarning: neuron2 always fires"


def sentence(part):
    """What is said of a field in a part of the page; None: of a field without which nothing of the file is used."""
    if part is None:
        return "is not a results file of minihire, or it is damaged"
    return f"has a field that cannot be read, in the part “{part}” ("


@pytest.mark.parametrize(
    ("part", "path", "value"),
    [
        (None, ("accuracy", 0, "low"), "low"),
        (None, ("accuracy", 0, "correct"), None),
        ("Attacked images", ("examples", 0, "label"), 99),
        ("Attacked images", ("examples", 0, "attacked_png"), "no picture"),
        ("Attacked images", ("examples", 0, "attacked_png"), "iVBORw0KGgo="),
        ("The noise κ", ("models", "hire", "noise"), {"scale": 1}),
        ("Spikes", ("spike_trains", "hire", 0, "trains"), 3),
        ("Spikes", ("activity", "hire", 1, "tasa"), "x"),
        ("Energy", ("energy", "hire", "first_layer_once"), {}),
        ("Training", ("models", "ann", "history", 0, "loss"), "high"),
        ("Cost of training", ("models", "hire", "cost"), {"passes": 2}),
        ("Thresholds and leaks", ("models", "hire", "leaks", "neuron1"), "small"),
        (None, ("phases", "train ann", "seconds"), "long"),
        ("summary", ("config", "methods"), None),
        ("summary", ("config", "steps"), MISSING),
        ("summary", ("machine", "device"), MISSING),
    ],
)
def test_a_field_that_cannot_be_read_is_named_in_one_sentence(tiny, folder_of, capsys, part, path, value):
    content = copy.deepcopy(tiny[1])
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    if value is MISSING:
        del place[path[-1]]
    folder = folder_of(**content)
    assert cli.main(["report", str(folder)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{folder / 'results.json'} {sentence(part)}" in told
    assert not (folder / "report.html").exists()


def test_letters_that_no_file_can_hold_are_replaced(folder_of, capsys):
    folder = folder_of(warnings=["half a pair: \ud800"])
    assert cli.main(["report", str(folder)]) == 0
    assert "half a pair: ?" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            dict(methods=["hire", "adversarial"]),
            "with HIRE and by adversarial training (N = 2 periods, ε_s = 0.013, PGD-7 at ε = 8/255).",
        ),
        (
            dict(methods=["adversarial"], adversarial_iterations=1, adversarial_epochs=3),
            "for 1 epoch by adversarial training (FGSM-RS at ε = 8/255, 3 epochs).",
        ),
        (
            dict(methods=["adversarial-ann"]),
            "An ANN was trained adversarially, too, from fresh weights (PGD-7 at ε = 8/255).",
        ),
    ],
)
def test_the_summary_names_the_attack_of_adversarial_training(tiny, folder_of, changes, says):
    told = words.summary(page.read(folder_of(config={**tiny[1]["config"], **changes})).results)
    assert says in told and ("Then it was trained" in told) == (changes["methods"] != ["adversarial-ann"])


def test_an_unfinished_run_does_not_say_that_it_was_all_done(tiny, folder_of):
    told = words.summary(page.read(folder_of(finished=False)).results)
    assert told.startswith("When this run is finished: ") and " so far, started " in told
    assert "so far" not in words.summary(tiny[1])


# ---------------------------------------------------------------- what the run found


def test_the_first_sentence_says_what_hire_gained_and_what_it_cost(tiny, made):
    first = next(text_of(n) for n in nodes(made, "p") if n.attributes.get("class") == "lede")
    right = {(row["model"], row["access"], row["attack"]): 100 * row["accuracy"] for row in tiny[1]["accuracy"]}
    attacked = [right[model, "white_box", "pgd"] for model in ("hire", "traditional")]
    assert first.startswith(
        f"Under PGD (white box), HIRE classifies {attacked[0]:.1f} % of the test images correctly and traditional training "
        f"{attacked[1]:.1f} %: "
    )
    times = [tiny[1]["phases"][f"train {model}"]["seconds"] for model in ("hire", "traditional")]
    assert first.endswith(f" HIRE's training took {times[0] / times[1]:.2f} times as long.")


@pytest.mark.parametrize(
    ("pgd", "clean", "says"),
    [
        (
            (0.5, 0.25),
            (0.5, 0.5),
            "25.0 %: HIRE is 25.0 points higher. On clean images: no difference (5,000 and 5,000 of 10,000 images).",
        ),
        (
            (0.25, 0.5),
            (0.5, 0.75),
            "50.0 %: HIRE is 25.0 points lower. On clean images: HIRE is 25.0 points lower "
            "(5,000 and 7,500 of 10,000 images).",
        ),
        (
            (0.25, 0.25),
            (0.75, 0.5),
            "25.0 %: no difference. On clean images: HIRE is 25.0 points higher (7,500 and 5,000 of 10,000 images).",
        ),
        (
            (0.251, 0.25),
            (0.5, 0.5),
            "25.0 %: HIRE is 0.1 points higher. The 95 % intervals overlap (2,510 and 2,500 of 10,000 images); a paired test on "
            "these images could still tell the two apart. On clean images: no difference (5,000 and 5,000 of 10,000 images).",
        ),
    ],
)
def test_the_first_sentence_does_not_flatter(pgd, clean, says):
    rows = [
        {"model": model, "access": access, "attack": attack, **Score(int(10_000 * values[number]), 10_000).as_dict()}
        for number, model in enumerate(("hire", "traditional"))
        for access, attack, values in (
            ("clean", "none", clean),
            ("white_box", "fgsm", (0, 0)),
            ("white_box", "pgd", pgd),
        )
    ]
    assert words.result({"accuracy": rows, "phases": {}}).endswith(says)


def test_without_hire_the_first_sentence_has_all_networks():
    rows = [{"model": "ann", "access": "white_box", "attack": "pgd", "accuracy": 0.25}]
    rows.append({"model": "traditional", "access": "white_box", "attack": "pgd", "accuracy": 0.125})
    assert words.result({"accuracy": rows, "phases": {}}) == (
        "Under PGD (white box), these parts of the test images are classified correctly: 25.0 % by the ANN and 12.5 % by the "
        "traditional SNN."
    )
    assert words.result({"accuracy": [{"model": "ann", "access": "clean", "attack": "none"}], "phases": {}}) == ""


def test_classes_have_the_accuracies_and_confusions_of_the_results(tiny, made):
    section, names = by_id(made, "classes"), tiny[1]["data"]["classes"]
    found = {(row["model"], row["access"], row["attack"]): row["confusion"] for row in tiny[1]["accuracy"]}
    listing, *matrices = nodes(section, "table")
    models = ("ann", "converted", "traditional", "gaussian", "hire")
    for number, (name, *cells) in enumerate(table_rows(listing)[1:]):
        share = lambda matrix, n=number: f"{100 * matrix[n][n] / sum(matrix[n]):.1f}" if sum(matrix[n]) else "–"
        expected = [f"{share(found[m, 'clean', 'none'])} → {share(found[m, 'white_box', 'pgd'])}" for m in models]
        images = f"{sum(found['ann', 'clean', 'none'][number]):,}"
        assert [name, *cells] == [names[number], images, *expected]
    assert len(matrices) == len(models) * 3
    _, *rows = table_rows(matrices[0])
    assert [[int(c) if c != "·" else 0 for c in row[1:]] for row in rows] == found["ann", "clean", "none"]


def test_many_classes_have_a_list_of_confusions(tiny):
    names = [f"class {n}" for n in range(25)]
    matrix = [[3 * (a == b) for b in range(25)] for a in range(25)]
    matrix[4][7], matrix[7][4] = 2, 5
    row = {**tiny[1]["accuracy"][0], "confusion": matrix}
    root = read_page(str(classes.classes({"data": {"classes": names}, "accuracy": [row]})))
    assert table_rows(list(nodes(root, "table"))[1])[1:] == [["class 7", "class 4", "5"], ["class 4", "class 7", "2"]]


def test_results_of_earlier_versions_have_no_classes(tiny, folder_of):
    rows = [{key: value for key, value in row.items() if key != "confusion"} for row in tiny[1]["accuracy"]]
    root = read_page(single(folder_of(accuracy=rows)))
    assert "classes" not in [n.attributes["id"] for n in nodes(root, "section")]


# ---------------------------------------------------------------- several runs


@pytest.mark.parametrize(
    ("part", "path", "value"),
    [
        (None, ("accuracy", 1), {}),
        (None, ("accuracy", 1, "model"), True),
        ("Energy", ("energy", "hire", "first_layer_once", "int32", "total_pj"), ["much"]),
        ("Energy", ("energy", "hire", "first_layer_once", "int32", "ratio"), {}),
        (None, ("phases", "train ann"), "long"),
    ],
)
def test_of_several_runs_the_one_that_cannot_be_read_is_named(tiny, folder_of, tmp_path, capsys, part, path, value):
    content = copy.deepcopy(tiny[1])
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    sound, damaged = folder_of("sound"), folder_of("damaged", **content)
    assert cli.main(["report", str(sound), str(damaged), "--out", str(tmp_path / "both.html")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and f"{damaged / 'results.json'} {sentence(part)}" in told
    assert not (tmp_path / "both.html").exists()


def test_several_runs_side_by_side(tiny, folder_of):
    other = copy.deepcopy(tiny[1])
    other["config"] |= {"steps": 6, "seed": 3}
    other["accuracy"] = [
        row | {"correct": 20, "accuracy": 1.0, "low": 0.8389, "high": 1.0} for row in other["accuracy"]
    ]
    other["finished"] = False
    second = folder_of("second", **other)
    root = read_page(page.comparison([page.read(tiny[0]), page.read(second)]))
    by_title = {text_of(next(nodes(s, "h2"))): s for s in nodes(root, "section") if any(nodes(s, "h2"))}
    assert list(by_title) == ["The runs", "Settings that differ", "Accuracy", "Energy", "Time", "Each run"]
    assert [row[-1] for row in table_rows(by_title["The runs"])[1:]] == ["finished", "not finished"]
    assert table_rows(by_title["Settings that differ"]) == [
        ["flag", "1. run", "2. second"],
        ["--steps", "4", "6"],
        ["--seed", "0", "3"],
    ]
    rows = table_rows(by_title["Accuracy"])
    hire = next(i for i, row in enumerate(rows) if row[0] == "HIRE-SNN1. run")
    clean = next(r for r in tiny[1]["accuracy"] if (r["model"], r["access"]) == ("hire", "clean"))
    assert rows[hire][1].startswith(f"{100 * clean['accuracy']:.1f} [")
    assert rows[hire + 1][:2] == ["2. second", "100.0 [83.9, 100.0]20 of 20"]
    energies = table_rows(by_title["Energy"])
    assert len(energies) == 1 + 2 * len(tiny[1]["energy"])
    assert row_of(by_title["Time"], "total")[1] == duration(sum(p["seconds"] for p in tiny[1]["phases"].values()))
    folded = [n for n in nodes(root, "details") if n.attributes.get("class") == "run"]
    assert [n.attributes["id"] for n in folded] == ["run-1", "run-2"]
    assert all(len(list(nodes(n, "h3"))) == len(SECTIONS) for n in folded)
    assert {n.attributes["href"] for n in nodes(root, "a")} >= {"#run-1", "#run-2"}
    assert "open" not in folded[0].attributes


def test_runs_with_equal_settings_and_one_without_results(tiny, folder_of):
    keys = ("accuracy", "activity", "energy", "distance", "examples", "models", "phases", "spike_trains")
    bare = folder_of("bare", **{key: type(tiny[1][key])() for key in keys})
    root = read_page(page.comparison([page.read(tiny[0]), page.read(bare)]))
    assert "All runs have the same settings." in text_of(root)
    both = read_page(page.comparison([page.read(bare), page.read(bare)]))
    assert [text_of(n) for n in nodes(both, "h2")] == ["The runs", "Settings that differ", "Each run"]


# ---------------------------------------------------------------- the commands


def test_report_writes_beside_the_results_and_replaces_its_own(folder_of, capsys):
    folder = folder_of()
    for _ in range(2):
        assert cli.main(["report", str(folder)]) == 0
        assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_text(encoding="utf-8") == single(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "results.json"]


def test_report_of_several_runs_needs_a_file(folder_of, tmp_path, capsys):
    a, b = folder_of("a"), folder_of("b")
    assert cli.main(["report", str(a), str(b)]) == 2
    assert "several runs or suites on one page need a file for it: give --out FILE" in capsys.readouterr().err
    assert cli.main(["report", str(a), str(b), "--out", str(tmp_path / "pages" / "both.html")]) == 0
    assert "2 runs compared" in (tmp_path / "pages" / "both.html").read_text(encoding="utf-8")
    assert not (a / "report.html").exists() and not (b / "report.html").exists()


@pytest.mark.parametrize("name", ["results.json", "notes.txt", "other.html", ""])
def test_report_overwrites_nothing_but_reports(folder_of, capsys, name):
    folder = folder_of()
    (folder / "notes.txt").write_text("mine")
    (folder / "other.html").write_text("<!doctype html><html><head><title>mine</title></head></html>")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert cli.main(["report", str(folder), "--out", str(folder / name)]) == 2
    told = capsys.readouterr().err
    assert "choose another" in told and told.count("\n") == 1
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_the_page_needs_no_matplotlib(folder_of, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["report", str(folder_of())]) == 0


def test_a_failed_write_leaves_the_old_page(folder_of, monkeypatch, capsys):
    folder = folder_of()
    assert cli.main(["report", str(folder)]) == 0
    before = (folder / "report.html").read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert cli.main(["report", str(folder)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert (folder / "report.html").read_bytes() == before and len(list(folder.iterdir())) == 2


def stopped(self):
    self.results.save()
    raise Interrupted("stopped before train ann; finished work was kept")


def test_a_stopped_run_leaves_its_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("minihire.study.run.Run.run", stopped)
    out = tmp_path / "run"
    assert cli.main(["run", "--train-limit", "20", "--test-limit", "10", "--threads", "1", "--out", str(out)]) == 130
    assert f"{out}/report.html: the run on one page" in capsys.readouterr().out
    assert "Not finished." in (out / "report.html").read_text(encoding="utf-8")


def test_a_file_in_the_page_s_place_loses_no_results(tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"

    def written_meanwhile(self):
        (out / "report.html").write_text("mine")
        stopped(self)

    monkeypatch.setattr("minihire.study.run.Run.run", written_meanwhile)
    assert cli.main(["run", "--train-limit", "20", "--test-limit", "10", "--threads", "1", "--out", str(out)]) == 130
    assert "the page could not be written (" in capsys.readouterr().out
    assert (out / "report.html").read_text() == "mine" and Results.load(out / "results.json")


def test_errors_of_reading_name_the_file_and_the_fault(tmp_path):
    with pytest.raises(MinihireError, match="is not that of a run, because it has no results.json: give one"):
        page.read(tmp_path)
