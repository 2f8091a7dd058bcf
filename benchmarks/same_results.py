"""Compare two results.json number by number: python -m benchmarks.same_results A B

A, B: files, or folders of runs. Left out is what may differ between two equal runs: time and memory ("phases"), the machine and
the version, texts such as names, paths and warnings, and pictures. Prints every difference; exit code 0 if there is none, else 1.
"""

import json
import sys
from pathlib import Path

from minihire.runtime.errors import MinihireError
from minihire.study.results import Results

LEFT_OUT = ("phases", "machine", "minihire", "schema")


def differences(a, b, where: str = "") -> list[str]:
    """A line for each number, length or entry that differs between two contents of results.json."""
    if isinstance(a, dict) and isinstance(b, dict):
        a, b = ({key: value for key, value in part.items() if not isinstance(value, str)} for part in (a, b))
        found = [f"{where}.{key}: only in {'A' if key in a else 'B'}".lstrip(".") for key in a.keys() ^ b.keys()]
        return sorted(found) + [line for key in a if key in b for line in differences(a[key], b[key], f"{where}.{key}")]
    if isinstance(a, list) and isinstance(b, list):
        if all(isinstance(part, str) for part in (*a, *b)):
            return []
        if len(a) != len(b):
            return [f"{where.lstrip('.')}: {len(a)} entries in A, {len(b)} in B"]
        return [line for i, (x, y) in enumerate(zip(a, b, strict=True)) for line in differences(x, y, f"{where}[{i}]")]
    same = isinstance(a, str) and isinstance(b, str) or type(a) is type(b) and a == b
    return [] if same else [f"{where.lstrip('.')}: {json.dumps(a)} in A, {json.dumps(b)} in B"]


def numbers(content) -> int:
    """How many numbers a content has."""
    if isinstance(content, dict | list):
        return sum(map(numbers, content.values() if isinstance(content, dict) else content))
    return isinstance(content, int | float)


def load(path: str) -> dict:
    """The comparable content of a results.json. Raises MinihireError where it cannot be read."""
    file = Path(path)
    content = Results.load(file / "results.json" if file.is_dir() else file).content
    return {key: value for key, value in content.items() if key not in LEFT_OUT}


def main(arguments: list[str]) -> int:
    """Print the differences of two files; returns the exit code."""
    if len(arguments) != 2:
        print("give two results.json: python -m benchmarks.same_results A B", file=sys.stderr)
        return 2
    try:
        a, b = map(load, arguments)
    except MinihireError as error:
        print(error, file=sys.stderr)
        return 2
    found = differences(a, b)
    print("\n".join(found) if found else f"equal: {numbers(a):,} numbers")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
