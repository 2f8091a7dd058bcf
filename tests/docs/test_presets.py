"""docs/presets.md: its tables have the settings of the code, and the measured times that other files state."""

import json
import re

import pytest
from handbook_pages import DOCS, rows

from minihire.data import NAMES
from minihire.data.sources import SOURCES
from minihire.models import MODELS
from minihire.study.paper.scales import SCALES
from minihire.study.settings import PRESETS, preset

PAGE = "presets.md"
TEXT = (DOCS / PAGE).read_text(encoding="utf-8")
ROWS = [row for row in rows(PAGE) if row[0].startswith("`") and row[0] != "`--data`"]
OF_PRESETS = {row[0].strip("`"): row[1:7] for row in ROWS if len(row) == 9 and row[0] != "`--preset`"}
OF_SCALES = [row for row in ROWS if len(row) == 7 and row[0] != "`--scale`"]


def images(config):
    return "all" if config.train_limit is None else f"{config.train_limit:,}"


def epochs(config):
    return f"{config.ann_epochs} + {config.snn_epochs}"


def test_every_preset_is_listed():
    assert list(OF_PRESETS) == list(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_settings_of_the_code(name):
    c = preset(name)
    schedule = "chosen by the number of images" if name == "folder" else epochs(c)
    assert OF_PRESETS[name] == [c.data, c.model, f"{c.width:g}", images(c), str(c.steps), schedule]


def test_the_scales_have_the_settings_of_the_code():
    assert list(dict.fromkeys(row[0].split("`")[1] for row in OF_SCALES)) == list(SCALES)
    for first, data, models, width, limit, schedule, _ in OF_SCALES:
        scale = SCALES[first.split("`")[1]]
        asked = "--models" in first
        configs = [c for c in scale.settings if (c.model in scale.on_request) == asked]
        assert data.split(", ") == list(dict.fromkeys(c.data for c in configs))
        assert models.split(", ") == list(dict.fromkeys(c.model for c in configs))
        assert {(width, limit, schedule)} == {(f"{c.width:g}", images(c), epochs(c)) for c in configs}


def test_every_data_set_and_model_is_named():
    listed = [name for row in rows(PAGE) if len(row) == 5 for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(listed) == sorted(NAMES)
    assert all(f"`{source.folders[0]}`" in TEXT for source in SOURCES.values())
    assert all(name in TEXT for name in MODELS)


@pytest.mark.parametrize(
    "file, time",
    [
        ("results/paper-small.md", "2 h 54 min"),
        ("choices.md", "1 h 45 min"),
        ("results/recipes-medium.md", "2 h 07 min"),
        ("results/cifar10-small.md", "421 MiB"),
        ("performance.md", "709 MiB"),
        ("performance.md", "1,108 MiB"),
        ("performance.md", "536 MiB"),
    ],
)
def test_a_measurement_is_stated_where_it_was_made(file, time):
    assert time.split(" / ")[0] in TEXT and time in (DOCS / file).read_text(encoding="utf-8")


def test_the_suites_took_more_than_six_hours():
    suites = json.loads((DOCS / "results" / "robustness-medium.json").read_text(encoding="utf-8"))
    assert sum(suite["seconds"] for suite in suites) > 6 * 3600
