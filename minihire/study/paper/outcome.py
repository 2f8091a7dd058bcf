"""The outcome of an experiment as plain data: tables, charts, and a verdict on each of the paper's claims."""

from dataclasses import asdict, dataclass, field

import numpy as np

from minihire.analysis import gain, mcnemar_over_seeds, wilson
from minihire.study.titles import DATA_TITLES, model_name

NOTICEABLE = 1.0  # percentage points; "no noticeable gain" agrees if the gain's whole interval is below this
AGREES, DIFFERS, UNDECIDED, NOT_COMPARABLE = "agrees", "differs", "undecided", "not comparable"


@dataclass
class Outcome:
    """The outcome of one experiment.

    name: as on the command line. title, text: what is shown and how it was measured. notes: what differs from the paper.
    """

    name: str
    title: str
    text: str = ""
    tables: list[dict] = field(default_factory=list)
    charts: list[dict] = field(default_factory=list)
    claims: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def table(self, caption: str, header: list[str], rows: list[list[str]]) -> None:
        """Add a table of texts."""
        self.tables.append({"caption": caption, "header": header, "rows": rows})

    def lines(self, title: str, unit: str, across: str, series: list[dict]) -> None:
        """Add a chart of lines: series of {"name", "label", "dashed", "points": [[x, y, low, high], …]}."""
        self.charts.append({"kind": "lines", "title": title, "unit": unit, "across": across, "series": series})

    def layers(self, title: str, unit: str, series: list[dict]) -> None:
        """Add a chart with one value per layer: series of {"name", "label", "values": {layer: value}}."""
        self.charts.append({"kind": "layers", "title": title, "unit": unit, "series": series})

    def bars(self, title: str, unit: str, rows: list[dict]) -> None:
        """Add bars from zero: rows of {"name", "label", "value", "words"}."""
        self.charts.append({"kind": "bars", "title": title, "unit": unit, "rows": rows})

    def points(self, title: str, unit: str, across: str, points: list[dict]) -> None:
        """Add a chart of points {"name", "label", "x", "y"}. Few are all numbered, many on the edge only."""
        self.charts.append({"kind": "points", "title": title, "unit": unit, "across": across, "points": points})

    def claim(self, study, claim: str, paper: str, ours: str, holds: bool | None, reason: str = "") -> None:
        """Add a claim of the paper and our verdict.

        holds: whether our measurements agree, None if they are undecided. reason: why the claim cannot be compared, or "".
        """
        if study.scale.reason or reason:
            verdict, reason = NOT_COMPARABLE, study.scale.reason or reason
        else:
            verdict = UNDECIDED if holds is None else AGREES if holds else DIFFERS
        self.claims.append({"claim": claim, "paper": paper, "ours": ours, "verdict": verdict, "reason": reason})

    def as_dict(self) -> dict:
        """Plain data, for paper.json."""
        return asdict(self)


def percent(answers: list[np.ndarray]) -> str:
    """Accuracy in percent as text: "38.2 (36.0–40.1)", mean, minimum and maximum over seeds.

    For a single seed: "38.2 [36.0, 40.1]", with its 95 % Wilson interval.
    """
    mean, low, high = spread(answers)
    ends = f"({low:.1f}–{high:.1f})" if len(answers) > 1 else f"[{low:.1f}, {high:.1f}]"
    return f"{mean:.1f} {ends}"


def intervals(seeds: int) -> str:
    """The meaning of the numbers in the brackets of `percent`, for a caption."""
    return f"mean and range of {seeds} seeds" if seeds > 1 else "one seed, 95 % Wilson intervals"


def spread(answers: list[np.ndarray]) -> tuple[float, float, float]:
    """(mean, low, high) in percent, as in `percent`."""
    shares = [100 * float(np.mean(a)) for a in answers]
    if len(shares) > 1:
        return float(np.mean(shares)), min(shares), max(shares)
    low, high = wilson(int(answers[0].sum()), len(answers[0]))
    return shares[0], 100 * low, 100 * high


@dataclass(frozen=True)
class Comparison:
    """Two ways of training compared, seed by seed on the same images.

    gains: the gain of each seed in percentage points. p: of McNemar's exact test over all seeds, each image counted once. low,
    high: the 95 % interval of the mean gain, in percentage points.
    """

    gains: list[float]
    p: float
    low: float
    high: float

    @property
    def better(self) -> bool | None:
        """True if every seed gains and p < 0.05, False if every seed loses and p < 0.05, else None."""
        return self.decided(0.05)

    def decided(self, level: float) -> bool | None:
        """`better` with `level` in place of 0.05, for many comparisons at once."""
        if self.p >= level or not (min(self.gains) > 0 or max(self.gains) < 0):
            return None
        return min(self.gains) > 0

    def below(self, limit: float = NOTICEABLE) -> bool | None:
        """Whether the gain is below `limit` points: True if its whole interval is, False if none of it is, else None."""
        return True if self.high < limit else False if self.low >= limit else None

    @property
    def interval(self) -> str:
        """The gains and the interval of their mean, as text."""
        return f"{self._each}, 95 % interval {self.low:+.1f} to {self.high:+.1f}"

    @property
    def _each(self):
        each = "" if len(self.gains) == 1 else f" ({', '.join(f'{g:+.1f}' for g in self.gains)})"
        return f"{np.mean(self.gains):+.1f}{each}"

    def __str__(self):
        return f"{self._each}, p = {self.p:.2g}"


def compare(ours: list[np.ndarray], theirs: list[np.ndarray]) -> Comparison:
    """Compare the answers of two ways of training; each list has one bool [N] array per seed, for the same images."""
    gains = [100 * float(a.mean() - b.mean()) for a, b in zip(ours, theirs, strict=True)]
    low, high = gain(ours, theirs)
    return Comparison(gains, mcnemar_over_seeds(ours, theirs), 100 * low, 100 * high)


def all_of(found: list[bool | None]) -> bool | None:
    """True if all are True, False if any is False, else None."""
    if any(x is False for x in found):
        return False
    return None if any(x is None for x in found) else True


def all_alike(found: list[bool]) -> bool | None:
    """True if all are True, False if none is, else None."""
    return True if all(found) else None if any(found) else False


def named(config) -> str:
    """Model and data set in text, for example VGG5 on CIFAR-10."""
    return f"{model_name(config.model)} on {DATA_TITLES.get(config.data, config.data)}"


def which(config, configs) -> str:
    """The start of a claim or title: "VGG5 on CIFAR-10: ", or "" if the experiment has one configuration only."""
    return f"{named(config)}: " if len(configs) > 1 else ""


def of_paper(config, model: str) -> str:
    """ " (VGG11 on CIFAR-100)" if the paper's claim is about another network or data set than ours, otherwise ""."""
    theirs = {"vgg5": "cifar10", "vgg11": "cifar100"}[model]
    if (config.model, config.data) == (model, theirs):
        return ""
    return f" ({model_name(model)} on {DATA_TITLES[theirs]})"
