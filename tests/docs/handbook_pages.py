"""Reads the pages of docs/: code blocks by heading, links and tables; runs code blocks as modules."""

import re
import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def blocks(page: str, language: str = "python") -> dict[str, list[str]]:
    """The code blocks of a page, by heading."""
    found, heading = {}, ""
    for part in re.split(r"^(#+ [^\n]*|```.*?^```)$", (DOCS / page).read_text(encoding="utf-8"), flags=re.M | re.S):
        if part.startswith("#"):
            heading = part.lstrip("# ")
        elif part.startswith(f"```{language}\n"):
            found.setdefault(heading, []).append(part.split("\n", 1)[1].removesuffix("```"))
    return found


def run(code: str, name: str, monkeypatch, **given) -> dict:
    """Run code as a module of that name, which is removed after the test. Returns the module's names."""
    module = types.ModuleType(name)
    module.__dict__.update(given)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(code, f"<{name}>", "exec"), module.__dict__)
    return module.__dict__


def links(path: Path) -> list[str]:
    """The targets of a Markdown file's links, without web links and anchors."""
    targets = re.findall(r"\]\(([^)\s]+)\)", without_code(path))
    return [target.split("#")[0] for target in targets if not target.startswith(("http:", "https:", "#"))]


def lost_anchors(path: Path) -> list[str]:
    """Links of a Markdown file that name a heading which their page does not have; "page.md#heading" or "#heading"."""
    targets = re.findall(r"\]\(([^)\s:]*)#([^)\s]+)\)", without_code(path))
    pages = [(path.parent / page if page else path, page, anchor) for page, anchor in targets]
    return [f"{page}#{anchor}" for at, page, anchor in pages if at.suffix == ".md" and anchor not in anchors(at)]


def without_code(path: Path) -> str:
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a Markdown file."""
    headings = re.findall(r"^#+ (.*)$", without_code(path), re.M)
    words = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in words}


def rows(page: str) -> list[list[str]]:
    """The cells of every table row of a page, including header and ruler rows."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines if line.startswith("|")
    ]
