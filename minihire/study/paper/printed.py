"""What the paper prints, read from paper_data/*.csv: to stand beside our figures, never to be taken for them."""

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

FROZEN = "_frozen_threshold_leak"


class Accuracy(NamedTuple):
    """A row of table 1, 2, 3 or 5: percent under clean images, FGSM and PGD; access "wb" or "bb"; timesteps None for ANNs."""

    table: int
    dataset: str
    model: str
    method: str
    timesteps: int | None
    access: str
    clean: float
    fgsm: float
    pgd: float


class Claim(NamedTuple):
    """A claim in prose or in a figure: where it stands, what it is about, and its value in the paper's words."""

    where: str
    claim: str
    value: str


@cache
def accuracies() -> tuple[Accuracy, ...]:
    """Every printed accuracy, in the order of the tables."""
    kinds = (int, str, str, str, lambda text: int(text) if text else None, str, float, float, float)
    return tuple(
        Accuracy(*(kind(row[name]) for kind, name in zip(kinds, Accuracy._fields, strict=True)))
        for row in _rows("accuracy")
    )


@cache
def claims() -> tuple[Claim, ...]:
    """Every claim without a printed table."""
    return tuple(Claim(**row) for row in _rows("claims"))


@cache
def operation_costs() -> dict[str, dict[str, float]]:
    """Table 7: pJ by operation ("multiplication", "addition", "mac", "ac") and number format ("int32", "fp32")."""
    return {row["operation"]: {name: float(row[name]) for name in ("int32", "fp32")} for row in _rows("energy_pj")}


def printed(config: dict, method: str) -> dict[str, Accuracy]:
    """The paper's rows for a run's data set and model, by access ("white_box", "black_box"); empty where it has none.

    config: settings as in results.json; method: a network of ours ("ann", "traditional", "hire", …). A rate-coded network is
    the paper's rate-coded one, and with frozen thresholds and leaks table 5 is meant.
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
