"""The page in a real browser: it loads without a complaint, says the numbers, and fits a phone."""

import re
import shutil
import subprocess

import pytest
from page_reader import by_id, nodes, read_page, table_rows

from minihire.report import page
from minihire.study.titles import TITLES

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
FLAGS = [
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ),
    *("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--log-level=0"),
]
PROBE = """<script>
document.querySelectorAll("details").forEach(folded => folded.open = true);
const probe = document.createElement("p"), wide = document.documentElement.clientWidth;
const style = selector => getComputedStyle(document.querySelector(selector));
const own = [...document.querySelectorAll(".scroll, pre")];
probe.id = "probe";
probe.textContent = [document.documentElement.scrollWidth, wide,
  own.filter(box => box.getBoundingClientRect().right > wide + 1).length,
  [...document.images].filter(image => !image.naturalWidth).length, style("body").backgroundColor,
  style(".mark.s-ann").fill, Math.min(...[...document.querySelectorAll(".charts text")].map(text =>
    text.getBoundingClientRect().height))].join("|");
document.body.append(probe);
</script>"""


def browse(tmp_path, html, *more):
    """(the page's nodes after it was loaded, lines that the page's console printed)."""
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *more, path.as_uri()]
    try:
        done = subprocess.run(command, capture_output=True, timeout=240)
    except subprocess.TimeoutExpired:
        pytest.skip("Chromium did not answer here")
    assert done.returncode == 0
    console = [line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]
    return done.stdout.decode("utf-8"), console


def probe(tmp_path, html, width, *more):
    """What PROBE found in a frame of a width in pixels (Chromium's own window is at least 500 wide)."""
    inner = tmp_path / "inner.html"
    inner.write_text(html.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    outer = f"""<!doctype html><body><iframe src="inner.html" style="width:{width}px;height:900px;border:0"></iframe>
<script>onload = () => document.body.append(frames[0].document.getElementById("probe").textContent)</script></body>"""
    dom, _ = browse(tmp_path, outer, "--dump-dom", "--allow-file-access-from-files", *more)
    found = re.search(r"(\d+)\|(\d+)\|(\d+)\|(\d+)\|([^|]+)\|([^|]+)\|([\d.]+)", dom)
    assert found, dom[-500:]
    return found.groups()


@pytest.mark.slow
def test_it_loads_without_complaints_and_says_the_numbers(tiny, made, tmp_path):
    dom, console = browse(tmp_path, page.single(page.read(tiny[0])), "--dump-dom")
    assert console == []
    root = read_page(dom)
    rows = {row[0]: row[1:] for row in table_rows(by_id(root, "accuracy"))}
    for r in tiny[1]["accuracy"]:
        cell = f"{100 * r['accuracy']:.1f} [{100 * r['low']:.1f}, {100 * r['high']:.1f}]{r['correct']} of {r['count']}"
        assert cell in rows[TITLES[r["model"]]]
    assert table_rows(root) == table_rows(made)
    assert len(list(nodes(root, "svg"))) == len(list(nodes(made, "svg")))


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 800, 1200])
def test_it_fits_the_width_and_shows_every_picture(tiny, tmp_path, width):
    scroll, inner, outside, broken, *_, letters = probe(tmp_path, page.single(page.read(tiny[0])), width)
    assert width - 20 <= int(inner) <= width and (scroll, outside, broken) == (inner, "0", "0")
    assert float(letters) >= 9  # pixels: letters of the charts stay legible


@pytest.mark.slow
def test_a_comparison_fits_a_phone_too(tiny, tmp_path):
    html = page.comparison([page.read(tiny[0])] * 2)
    scroll, inner, outside, broken, *_ = probe(tmp_path, html, 360)
    assert int(inner) <= 360 and (scroll, outside, broken) == (inner, "0", "0")
    assert browse(tmp_path, html, "--dump-dom")[1] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "light_page", "light_ann"), [("1", True, False), ("0", False, True)], ids=["light", "dark"]
)
def test_the_ann_is_seen_in_light_and_dark(tiny, tmp_path, scheme, light_page, light_ann):
    found = probe(tmp_path, page.single(page.read(tiny[0])), 800, f"--blink-settings=preferredColorScheme={scheme}")
    bright = [sum(map(int, re.findall(r"\d+", colour)[:3])) > 3 * 128 for colour in found[4:6]]
    assert bright == [light_page, light_ann]


@pytest.mark.slow
def test_folded_sections_are_printed(tiny, tmp_path):
    out = tmp_path / "page.pdf"
    browse(tmp_path, page.single(page.read(tiny[0])), f"--print-to-pdf={out}")
    pages = out.read_bytes().count(b"/Type /Page\n") or len(re.findall(rb"/Type\s*/Page\b", out.read_bytes()))
    assert 3 <= pages <= 16
