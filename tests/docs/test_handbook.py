"""docs/README.md lists every page of docs/; the links of all pages exist, and so do the commands and flags in them."""

import re

import pytest
from handbook_pages import DOCS, ROOT, links, lost_anchors, without_code

from minihire.app import cli, completion

PAGES = sorted(DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_link_of_a_page_leads_somewhere(page):
    assert [link for link in links(page) if link and not (page.parent / link).exists()] == []
    assert lost_anchors(page) == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_every_heading_that_a_link_names_exists(page):
    assert lost_anchors(page) == []


def test_a_heading_that_does_not_exist_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b` of [c](d.md): e\n\n[one](#a-b-of-c-e) [two](#a-b) [three](page.md#c)", encoding="utf-8")
    assert lost_anchors(page) == ["#a-b", "page.md#c"]


def test_the_index_lists_every_page_once():
    listed = [link for link in links(DOCS / "README.md") if not link.startswith("..")]
    pages = [str(page.relative_to(DOCS)) for page in (*PAGES, *DOCS.glob("*.html")) if page.name != "README.md"]
    assert len(set(listed)) == len(listed) and set(pages) <= set(listed)


def test_the_readme_s_map_names_the_index():
    (line,) = [
        line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("docs/ ")
    ]
    assert "docs/README.md" in line


EVERY = [*PAGES, *sorted(ROOT.glob("*.md"))]
OF_OTHERS = {"--nproc-per-node", "--no-deps"}  # torchrun's and pip's
# pages that also show the flags of benchmarks and of the tests' harnesses
WITH_HARNESSES = ("performance.md", "kernels.md", "gpu.md", "reliability.md")
FLAG = r"(?<![\w-])--[a-z][a-z-]*"


@pytest.fixture(scope="module")
def commands():
    return completion.commands(cli.make_parser())


def code_of(page):
    """The code of a page but for Python: the lines of its blocks, and the spans in its text."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    fenced = [part.split("\n", 1) for part in re.findall(r"^```(.*?)^```$", text, re.M | re.S)]
    lines = [line for language, block in fenced if language != "python" for line in block.splitlines()]
    return [*lines, *re.findall(r"`([^`\n]+)`", without_code(page))]


@pytest.mark.parametrize("page", EVERY, ids=lambda page: str(page.relative_to(ROOT)))
def test_flags_and_commands_of_a_page_exist(page, commands):
    """In the code, `minihire NAME` has a command NAME, which has the flags that follow."""
    for line in code_of(page):
        for name, rest in re.findall(r"^\s*(?:python -m )?minihire ([a-z]+)\b([^#]*)", line):
            assert name in commands, line
            assert {*re.findall(FLAG, rest)} <= commands[name]._option_string_actions.keys(), line


@pytest.mark.parametrize("page", EVERY, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_flag_of_a_page_is_one_of_some_command(page, commands):
    known = OF_OTHERS.union(*(parser._option_string_actions for parser in commands.values()))
    if page.name in WITH_HARNESSES:
        sources = [*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "tests" / "reliability").glob("*.py")]
        known |= {flag for source in sources for flag in re.findall(rf'"({FLAG})"', source.read_text(encoding="utf-8"))}
    text = re.sub(r"^```python\n.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    others = r"^\s*(python -m (benchmarks|pytest)|python tests/|pip |ruff ).*$"
    assert {*re.findall(FLAG, re.sub(others, "", text, flags=re.M))} <= known
