"""The section on accuracy: means, intervals, counts, and the paper's values if it has the same model and data set."""

from minihire.report import charts
from minihire.report.markup import Markup, join, table, tag
from minihire.report.pieces import network, note
from minihire.report.tables import interval
from minihire.report.words import network_name, networks, title
from minihire.study.paper import printed as paper
from minihire.study.settings import PRESETS, Config
from minihire.study.titles import ACCESS_TITLES, ATTACK_TITLES, COLUMNS, model_name


def score_columns(rows) -> list[tuple[str, str]]:
    """(access, attack) of every column that the accuracy rows need. Those of COLUMNS come first."""
    present = dict.fromkeys((row["access"], row["attack"]) for row in rows)
    usual = [column for column in COLUMNS if column in present]
    return usual + [column for column in present if column not in usual]


def score_heads(columns) -> list[Markup]:
    """The column headers, for example "FGSM" above "white box"."""
    heads = [(ATTACK_TITLES.get(attack, attack), ACCESS_TITLES.get(access, access)) for access, attack in columns]
    return [join([tag("span", attack), access and tag("small", access)]) for attack, access in heads]


def score_cell(row: dict | None, name: str, title: str | None = None) -> Markup:
    """A table cell: accuracy, interval, a strip from 0 to 100 %, and the count. A dash if `row` is None.

    name: whose colour and marker to use. title: the network's title, by default that of `name`.
    """
    if row is None:
        return tag("td", "–")
    mean, _, between = interval(row).partition(" ")
    words = f"{title or network_name(name)}: {mean} %, 95 % interval {between}"
    drawn = charts.strip(name, row["accuracy"], row["low"], row["high"], words)
    count = tag("small", f"{row['correct']:,} of {row['count']:,}")
    return tag("td", tag("b", mean), " ", tag("span", between, class_="interval"), drawn, count, class_="score")


def accuracy(results) -> Markup | None:
    """A table of accuracies, with the paper's values below a network if the paper has the same model and data set."""
    found = {(row["model"], row["access"], row["attack"]): row for row in results["accuracy"]}
    if not found:
        return None
    columns, rows, beside = score_columns(results["accuracy"]), [], False
    for name in networks(dict.fromkeys(key[0] for key in found)):
        rows.append([network(name), *(score_cell(found.get((name, *column)), name) for column in columns)])
        printed = paper.printed(results["config"], name)
        if printed:
            rows.append(_paper_row(printed, name, columns, model_name(results["config"]["model"])))
            beside = True
    return join(
        [
            table(["accuracy, %", *score_heads(columns)], rows, class_="scores"),
            note(
                "Mean, 95 % Wilson interval, and correctly classified images; every strip runs from 0 to 100 %. The interval "
                "covers the choice of test images, not other trainings. Attacks with one surrogate gradient and few iterations "
                "do not establish robustness.",
                " A dash means not measured." if len(found) < len(columns) * len({key[0] for key in found}) else None,
            ),
            _paper_note(results, beside),
        ]
    )


def _paper_row(printed, name, columns, row):
    tables = list(dict.fromkeys(str(p.table) for p in printed.values()))
    where = f" (table{'s' * (len(tables) > 1)} {' and '.join(tables)}, {row})"
    head = tag("th", "paper, full-size network, all test images", tag("small", where), scope="row", class_="paper")
    cells = []
    for access, attack in columns:
        values = printed.get("white_box" if access == "clean" else access)
        value = values and {"none": values.clean, "fgsm": values.fgsm, "pgd": values.pgd}.get(attack)
        if value is None:
            cells.append(tag("td", "–", class_="paper"))
            continue
        words = f"printed in the paper for {network_name(name)}: {value} %"
        drawn = charts.strip(name, value / 100, None, None, words, hollow=True)
        cells.append(tag("td", tag("span", f"{value:.1f}"), drawn, class_="score paper"))
    return [head, *cells]


def _paper_note(results, beside):
    config = results["config"]
    setting = title(results)
    if not beside:
        return note(f"The paper has no values for {setting}.")
    name = f"{config['model']}-{config['data']}"
    original = Config(**PRESETS[name])
    groups = ("data", "network", "ANN training", "conversion", "SNN training", "attacks")
    differ = [
        f"{key.replace('_', ' ')} {_plain(config[key], key)}, not {_plain(getattr(original, key), key)}"
        for key, f in Config.__dataclass_fields__.items()
        if f.metadata.get("group") in groups
        and key in config
        and key not in ("data_dir", "methods", "black_box", "freeze", "coding")
        and config[key] != getattr(original, key)
    ]
    return note(
        f"Hollow markers show the paper’s values for {setting} (Kundu, Pedram and Beerel, ICCV 2021), which it prints "
        "without intervals. They come from a different experiment and are not a target for this run. ",
        f"Compared with the preset {name}, which follows the paper, this run has {'; '.join(differ)}."
        if differ
        else "",
    )


def _plain(value, name):
    """A setting's value as text; for None, the meaning of not giving the setting."""
    if value is None:
        return {"hidden": "full size", "train_limit": "all", "test_limit": "all"}.get(name, "unset")
    return f"{value:g}" if isinstance(value, float) else str(value)
