"""The page of `minihire attack --suite`: the verdict, the numbers and the figures of the JSON files, and nothing else."""

import json

import numpy as np
import pytest
from page_reader import by_id, nodes, read_page, table_rows, text_of

from minihire.analysis import Score
from minihire.app import cli
from minihire.attacks import Robustness
from minihire.report import page
from minihire.report.marks import COLOURS
from minihire.report.suite_page import verdict
from minihire.runtime.checksum import checksum
from minihire.runtime.errors import MinihireError
from minihire.study.settings import preset

EVIL = "<script>alert('x')</script>&\""


def curve(name, values):
    return [{name: x, **Score(correct, 50).as_dict()} for x, correct in values.items()]


def robustness(suite="strong", budget="full", up=(), attacks=3, **changes):
    """The entry of a results file: 100 images, of which 60 are classified correctly and 60 − attacks/2 withstand all attacks."""
    clean, robust = np.arange(100) < 60, np.arange(100) < 60 - (attacks + 1) // 2
    found = Robustness(suite, budget, 2 / 255, clean, robust)
    for number in range(attacks):  # every other attack fools the network on one image
        left = 60 - (number + 1) // 2
        row = {"name": f"attack-{number}", "attacked": left, "withstood": left - (number % 2 == 0)}
        found.stages.append({**row, "gradients": 1000 * left, "queries": left})
    if suite == "strong":
        names = ("one step beats many", "gradients vanish", "still falling")
        found.flags = [{"name": name, "up": name in up, "text": f"text of {name}"} for name in names]
    if suite == "strong" and budget == "full":
        found.curves = {"attack": "apgd", "member": "arctan-2"}
        found.curves["steps"] = curve("steps", {1: 25, 10: 20, 1000: 19})
        found.curves["epsilon"] = curve("epsilon", {0.0: 30, 1 / 255: 22, 2 / 255: 19, 4 / 255: 0})
    found.seconds = 90.0
    return {**found.as_dict(), **changes}


@pytest.fixture
def file_of(tmp_path):
    """file_of(name, checkpoint, …): the JSON file of a suite."""

    def make(name="hire", checkpoint="models/hire.npz", entry=None, **changes):
        content = {"command": "attack", "checkpoint": checkpoint, "config": preset("mini").describe()}
        content |= {"robustness": entry or robustness(**changes)}
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return make


def page_of(*paths):
    return read_page(page.suite_page([page.read(path) for path in paths]))


def ledes(root):
    return [text_of(n) for n in nodes(root, "p") if n.attributes.get("class") == "lede"]


# ---------------------------------------------------------------- one network


def test_the_page_says_the_verdict_first(file_of):
    for changes, sentence in (
        ({}, "No red flag is up."),
        ({"up": ["gradients vanish"]}, "Robustness not established: gradients vanish."),
        (
            {"up": ["still falling", "one step beats many"]},
            "Robustness not established: one step beats many; still falling.",
        ),
        ({"flags": []}, "Robustness not established: the red flags were not evaluated."),
        ({"suite": "parity"}, "Robustness not established: these are only the attacks of the paper."),
    ):
        root = page_of(file_of(**changes))
        assert ledes(root) == [sentence] and [text_of(n) for n in nodes(root, "h1")] == ["Robustness of HIRE-SNN"]
    assert verdict(robustness()) == "no red flag is up"


def test_every_number_of_the_file_is_on_the_page(file_of):
    entry = robustness(up=["still falling"], transfer=["a.npz", "b.npz"])
    root = page_of(file_of(entry=entry))
    assert [n.attributes["id"] for n in nodes(root, "section")] == ["accuracy", "curves", "flags", "attacks"]
    links = [n.attributes["href"] for n in nodes(root, "a") if n.attributes["href"].startswith("#")]
    assert links == ["#accuracy", "#curves", "#flags", "#attacks"]
    (_, row) = table_rows(by_id(root, "accuracy"))
    assert row[0] == "HIRE-SNNmodels/hire.npz" and row[1] == "strong, budget fullshapes, ε = 2/255"
    assert row[2].startswith("60.0 [50.2, 69.1]") and row[2].endswith("60 of 100")
    assert row[3].startswith("58.0 [48.2, 67.2]") and row[3].endswith("58 of 100")
    flags = table_rows(by_id(root, "flags"))[1:]
    assert flags == [[f["name"], "up" if f["up"] else "down", f["text"]] for f in entry["flags"]]
    attacks = by_id(root, "attacks")
    assert "178,000 gradient evaluations, 178 queries, 1 min 30 s; transfer from a.npz, b.npz." in text_of(attacks)
    assert table_rows(attacks)[1:] == [
        ["attack-0", "60", "59", "60,000", "60"],
        ["attack-1", "59", "59", "59,000", "59"],
        ["attack-2", "59", "58", "59,000", "59"],
    ]
    assert "Made from hire.json by minihire" in text_of(root)


def test_a_long_table_of_attacks_starts_with_those_that_fooled_the_network(file_of):
    attacks = by_id(page_of(file_of(attacks=20)), "attacks")
    short, whole = (table_rows(n)[1:] for n in nodes(attacks, "table"))
    assert len(whole) == 20 and short == whole[::2]
    (folded,) = nodes(attacks, "details")
    assert table_rows(folded)[1:] == whole and text_of(next(nodes(folded, "summary"))) == "All 20 attacks"


def test_the_figures_have_a_line_with_its_intervals(file_of):
    root = by_id(page_of(file_of()), "curves")
    by_steps, by_size = (n for n in nodes(root, "svg") if "aria-label" in n.attributes)
    for drawing, count in ((by_steps, 3), (by_size, 4)):
        (line,) = nodes(drawing, "polyline")
        assert len(line.attributes["points"].split()) == count and "s-hire" in line.attributes["class"]
        whiskers = [n for n in nodes(drawing, "line") if "whisker" in n.attributes["class"]]
        assert len(whiskers) == count and all("s-hire" in n.attributes["class"] for n in whiskers)
    tips = [n.children[0] for n in nodes(by_size, "title")]
    assert tips[1] == "HIRE-SNN, ε in levels of 255 1: 44" and tips[-1].endswith(" 4: 0")
    mark = next(nodes(by_steps, "path"))
    low = next(n for n in nodes(by_steps, "line") if "whisker" in n.attributes["class"])
    height = float(mark.attributes["transform"].split()[1].rstrip(")"))
    assert float(low.attributes["y2"]) < height < float(low.attributes["y1"])  # the interval surrounds the point
    assert "50 images, surrogate arctan-2, ε = 2/255 in the left figure." in text_of(root)


@pytest.mark.parametrize("changes", [{"budget": "small"}, {"suite": "parity"}, {"curves": {}}])
def test_without_curves_there_is_no_figure(file_of, changes):
    root = page_of(file_of(**changes))
    assert "curves" not in [n.attributes["id"] for n in nodes(root, "section")]


def test_a_file_without_the_entry_for_curves_is_readable(file_of):
    entry = robustness()
    del entry["curves"]
    assert ledes(page_of(file_of(entry=entry))) == ["No red flag is up."]


# ---------------------------------------------------------------- several networks


def test_a_page_says_in_what_the_results_of_several_networks_differ(file_of):
    def warnings(*files):
        return [
            text_of(n) for n in nodes(by_id(page_of(*files), "accuracy"), "b") if n.attributes.get("class") == "wrong"
        ]

    same = [file_of("one"), file_of("two")]
    assert warnings(*same) == []
    wider = file_of("wider", entry=robustness(epsilon=8 / 255))
    assert warnings(*same, wider) == ["Do not compare these networks: they differ in ε."]
    less = file_of("less", budget="small")
    (sentence,) = warnings(same[0], wider, less)
    assert sentence == "Do not compare these networks: they differ in the suite, ε."


def test_several_networks_are_several_lines_and_each_has_a_name_and_a_mark(file_of):
    checkpoints = ["a/hire.npz", "a/second/hire.npz", "b/hire.npz", "a/ann.npz", "mine.npz"]
    files = [file_of(f"suite-{n}", checkpoint) for n, checkpoint in enumerate(checkpoints)]
    files.append(file_of("small", "a/traditional.npz", budget="small", up=["still falling"]))
    root = page_of(*files)
    titles = ["HIRE-SNN (1)", "HIRE-SNN, second seed", "HIRE-SNN (2)", "ANN", "mine", "traditional SNN"]
    assert [text_of(n) for n in nodes(root, "h1")] == ["Robustness of 6 networks"]
    assert ledes(root) == [
        *(f"{title}: no red flag is up." for title in titles[:-1]),
        "traditional SNN: robustness not established: still falling.",
    ]
    rows = table_rows(by_id(root, "accuracy"))[1:]
    assert [row[0] for row in rows] == [
        f"{title}{path}" for title, path in zip(titles, [*checkpoints, "a/traditional.npz"], strict=True)
    ]
    for drawing in [n for n in nodes(by_id(root, "curves"), "svg") if "aria-label" in n.attributes]:
        classes = [n.attributes["class"] for n in nodes(drawing, "polyline")]
        assert len(classes) == len(set(classes)) == 5 and "curve s-hire" in classes and "curve s-ann" in classes
        assert "curve s-traditional" not in classes
    legends = list(nodes(by_id(root, "curves"), "ul"))
    assert [[text_of(item).strip() for item in nodes(n, "li")] for n in legends] == [titles[:-1]] * 2
    for section in ("flags", "attacks"):
        assert [text_of(n) for n in nodes(by_id(root, section), "h3")] == titles
        assert len(list(nodes(by_id(root, section), "details"))) == 6
    assert text_of(by_id(root, "flags")).count("3 red flags, none up") == 5


def test_more_networks_than_colours_still_have_their_names(file_of):
    files = [file_of(f"suite-{n}", f"net-{n}.npz") for n in range(len(COLOURS) + 3)]
    text = text_of(by_id(page_of(*files), "curves"))
    assert all(text.count(f"net-{n}") >= 2 for n in range(len(files)))


def test_curves_of_another_network_or_epsilon_say_so(file_of):
    ann = robustness(epsilon=8 / 255)
    ann["curves"]["member"] = "own"
    text = text_of(by_id(page_of(file_of(), file_of("ann", "ann.npz", ann)), "curves"))
    assert "HIRE-SNN: 50 images, surrogate arctan-2, ε = 2/255 in the left figure." in text
    assert "ANN: 50 images, the network's own gradient, ε = 8/255 in the left figure." in text


# ---------------------------------------------------------------- files


def test_text_of_a_file_is_not_markup(file_of):
    entry = robustness(up=[EVIL], transfer=[EVIL])
    entry["flags"][0] = {"name": EVIL, "up": True, "text": EVIL}
    entry["stages"][0]["name"] = EVIL
    entry["curves"]["member"] = EVIL
    root = page_of(file_of(checkpoint=f"{EVIL}/{EVIL}.npz", entry=entry), file_of("b"))
    assert not list(nodes(root, "script")) and text_of(root).count(EVIL) >= 7


def change(entry, path, value):
    *above, last = path
    for key in above:
        entry = entry[key]
    if value is None:
        del entry[last]
    else:
        entry[last] = value


@pytest.mark.parametrize(
    "path, value, part",
    [
        (["clean"], None, "Accuracy"),
        (["robust", "low"], "x", "Accuracy"),
        (["stages", 0, "queries"], None, "Attacks"),
        (["stages"], 3, "Attacks"),
        (["flags", 1, "text"], None, "Red flags"),
        (["curves", "steps"], [], "Curves"),
        (["curves", "epsilon", 1, "epsilon"], "x", "Curves"),
        (["curves", "epsilon", 1, "high"], [], "Curves"),
        (["curves", "member"], None, "Curves"),
    ],
)
def test_an_unreadable_field_is_one_sentence_with_the_file_and_the_section(file_of, path, value, part):
    entry = robustness()
    change(entry, path, value)
    file = file_of(entry=entry)
    with pytest.raises(MinihireError) as caught:
        page_of(file)
    assert str(caught.value).startswith(f"{file} has a field that cannot be read, in the part “{part}” (")


@pytest.mark.parametrize("text", ["", "[]", "3", "[" * 100_000, "{}", '{"command": "info"}', '{"a": NaN}'])
def test_another_file_is_refused(tmp_path, text):
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(MinihireError) as caught:
        page.read(file)
    assert str(caught.value) == (
        f"{file} is not a result of `minihire attack --suite`, or it is damaged: give a file that this command wrote with "
        "--json, or the folder of a run"
    )


def test_the_scores_of_single_attacks_are_refused(file_of, tmp_path):
    file = tmp_path / "scores.json"
    file.write_text(json.dumps({"command": "attack", "checkpoint": "a.npz", "config": {}, "accuracy": {}}))
    with pytest.raises(MinihireError, match="is not a result of `minihire attack --suite`"):
        page.read(file)


# ---------------------------------------------------------------- the command


def test_report_writes_beside_the_file_and_replaces_its_own(file_of, tmp_path, capsys):
    file = file_of()
    before = file.read_bytes()
    for _ in range(2):
        assert cli.main(["report", str(file)]) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'hire.html'}\n"
    assert (tmp_path / "hire.html").read_text(encoding="utf-8") == page.suite_page([page.read(file)])
    assert cli.main(["report", str(file), "--out", str(file)]) == 2
    assert "is not a report of minihire" in capsys.readouterr().err and file.read_bytes() == before


def test_report_notices_a_changed_character_and_a_missing_file(file_of, tmp_path, capsys):
    file = file_of()
    content = json.loads(file.read_text(encoding="utf-8"))
    content.pop("checksum", None)
    content["checksum"] = checksum(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    assert cli.main(["report", str(file)]) == 0
    content["robustness"]["robust"]["correct"] += 1
    file.write_text(json.dumps(content), encoding="utf-8")
    assert cli.main(["report", str(file)]) == 2
    assert "or it is damaged" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path / "no.json")]) == 2
    assert capsys.readouterr().err.startswith(f"minihire: there is no {tmp_path / 'no.json'}: give a run's folder")


def test_report_of_several_suites_needs_a_file_and_takes_no_runs(file_of, folder_of, tmp_path, capsys):
    a, b, run = file_of("a"), file_of("b"), folder_of()
    assert cli.main(["report", str(a), str(b)]) == 2
    assert "several runs or suites on one page need a file for it: give --out FILE" in capsys.readouterr().err
    out = tmp_path / "pages" / "both.html"
    assert cli.main(["report", str(a), str(b), "--out", str(out)]) == 0
    assert "Robustness of 2 networks" in out.read_text(encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["report", str(a), str(run), "--out", str(out)]) == 2
    assert capsys.readouterr().err == (
        f"minihire: {a} is the result of a suite and {run} is a run, which have different pages: give only runs, or only "
        "results of suites\n"
    )
