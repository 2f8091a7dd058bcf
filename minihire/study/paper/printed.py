"""The values printed in the paper, read from paper_data/*.csv, for comparison with our own."""

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

FROZEN = "_frozen_threshold_leak"


class Accuracy(NamedTuple):
    """A row of table 1, 2, 3 or 5: accuracy in percent on clean, FGSM and PGD images.

    access: "wb" (white box) or "bb" (black box). timesteps: None for ANNs.
    """

    table: int
    dataset: str
    model: str
    method: str
    timesteps: int | None
    access: str
    clean: float
    fgsm: float
    pgd: float


@cache
def accuracies() -> tuple[Accuracy, ...]:
    """Every printed accuracy, in the order of the tables."""
    kinds = (int, str, str, str, lambda text: int(text) if text else None, str, float, float, float)
    return tuple(
        Accuracy(*(kind(row[name]) for kind, name in zip(kinds, Accuracy._fields, strict=True)))
        for row in _rows("accuracy")
    )


@cache
def operation_costs() -> dict[str, dict[str, float]]:
    """Table 7: pJ by operation ("multiplication", "addition", "mac", "ac") and number format ("int32", "fp32")."""
    return {row["operation"]: {name: float(row[name]) for name in ("int32", "fp32")} for row in _rows("energy_pj")}


def printed(config: dict, method: str) -> dict[str, Accuracy]:
    """The paper's rows for a run's data set and model, by access ("white_box", "black_box"); empty if there are none.

    config: settings as in results.json. method: "ann", "traditional", "hire", …. A run with rate coding is compared with the
    paper's rate-coded SNN, a run with frozen thresholds and leaks with table 5.
    """
    if config.get("coding") == "rate" and method != "ann":
        method = "rate_coded" if method == "traditional" else ""
    elif config.get("freeze") and method != "ann":
        method += FROZEN
    access = {"wb": "white_box", "bb": "black_box"}
    wanted = (config.get("data"), config.get("model"), method)
    return {access[row.access]: row for row in accuracies() if (row.dataset, row.model, row.method) == wanted}


def _rows(name):
    text = (files("minihire.study.paper") / "paper_data" / f"{name}.csv").read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())
