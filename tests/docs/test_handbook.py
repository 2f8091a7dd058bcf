"""docs/README.md lists every page of docs/; the links of all pages exist, and so do the commands and flags in them."""

import re

import pytest
from handbook_pages import DOCS, ROOT, blocks, links, lost_anchors

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


OURS = (
    "presets.md",
    "attacks.md",
    "command-line.md",
    "extending.md",
    "glossary.md",
    "paper-to-code.md",
    "for-pytorch-users.md",
    "your-data.md",
    "README.md",
)


@pytest.mark.parametrize("page", OURS)
def test_flags_and_commands_in_the_text_exist(page):
    """`minihire NAME` has a command NAME, and each `--flag` of the text is a flag of some command."""
    commands = completion.commands(cli.make_parser())
    flags = {flag for parser in commands.values() for flag in parser._option_string_actions}
    text = (DOCS / page).read_text(encoding="utf-8")
    for found in blocks(page).values():
        for block in found:
            text = text.replace(block, "")
    text = re.sub(r"^python -m benchmarks.*$", "", text, flags=re.M)  # they have flags of their own
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= flags
    assert set(re.findall(r"`minihire ([a-z]+)", text)) <= commands.keys()
