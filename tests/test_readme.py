"""The README: its example runs as printed and ends near the numbers stated for it; its links lead somewhere."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_python_example_ends_near_the_stated_ranges():
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
    assert len(code.strip().splitlines()) <= 15
    stated = {name: (float(a), float(b)) for name, a, b in re.findall(r"(clean|fgsm|pgd) (0\.\d+) to (0\.\d+)", README)}
    assert stated.keys() == {"clean", "fgsm", "pgd"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {name: float(value) for name, value in re.findall(r"^(\w+) ([\d.]+)$", done.stdout, re.M)}
    assert found.keys() == stated.keys()
    for name, (low, high) in stated.items():  # measured on one machine; another one rounds differently
        assert low - 0.1 <= found[name] <= high + 0.1
    assert found["clean"] > found["fgsm"] > found["pgd"]


def test_commands_on_cifar10_name_its_folder():
    commands = re.findall(r"minihire run --preset cifar10-small[^\n`]*", README)
    assert len(commands) == 2 and all("--data-dir DIR" in found for found in commands)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 130


def test_every_file_in_the_readme_exists():
    links = re.findall(r"\]\(([^)h][^)]*)\)", README)
    assert links and not [link for link in links if not (ROOT / link.partition("#")[0]).exists()]


RESULTS = ROOT / "docs" / "results"
ROWS = {  # row of the README's table of results → its name in docs/results/robustness-medium.md
    "ANN": "ANN",
    "traditional SNN": "traditional SNN",
    "HIRE-SNN": "HIRE-SNN",
    "HIRE-SNN, four times the noise (`hire-4x`)": "HIRE-SNN, 4× noise",
    "SNN, adversarial training at HIRE's cost": "adversarial SNN, FGSM-RS, equal cost",
    "ANN, adversarial training": "adversarial ANN, FGSM-RS, equal epochs",
}


@pytest.fixture(scope="module")
def measured():
    """{(network, 255·ε): [clean, FGSM, PGD-7, suite]} of docs/results/robustness-medium.md, as texts."""
    found, bound = {}, None
    for line in (RESULTS / "robustness-medium.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"VGG5 on CIFAR-10, width 0\.25, ε = (\d)/255: accuracy", line):
            bound = int(match[1])
        elif match := re.match(r"\| ([^|]+) \|" + r" ([\d.]+) \([^|]*\) \|" * 4, line):
            found.setdefault((match[1], bound), list(match.groups()[1:]))
    return found


def test_the_table_of_results_is_that_of_the_measurements(measured):
    section = README.partition("\n## Results\n")[2]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if re.match(r"\| .* \d", line)][1:]
    assert [row[0] for row in rows] == [*ROWS]
    for name, *figures in rows:
        assert figures == [*measured[ROWS[name], 8], measured[ROWS[name], 2][3]], name


def test_the_figures_in_the_text_of_results_are_those_of_the_measurements(measured):
    hire, control = (measured[name, 2][3] for name in ("HIRE-SNN", "N periods, κ = 0"))
    assert f"strong attacks leave {measured['HIRE-SNN', 8][3]} % of HIRE's images" in README
    sentence = f"at most {hire} % of the images withstand with HIRE, and at most {control} % with the same training"
    assert f"{sentence} without noise (κ = 0)" in README
    page = (RESULTS / "full-size.md").read_text(encoding="utf-8")
    clean = dict(re.findall(r"^\| (ANN|traditional SNN|HIRE-SNN) \| ([\d.]+) \[", page, re.M)[:3])
    assert (
        f"ANN {clean['ANN']} %, traditional training {clean['traditional SNN']} %, HIRE {clean['HIRE-SNN']} %" in README
    )


def benchmark(name):
    """(ratio to the fastest other SNN program, its side of the comparison, minihire's side)."""
    content = json.loads((RESULTS / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
    (result,) = content["results"]
    sides = {side["side"]: side for side in result["sides"]}
    return result["ratio_to_fastest_peer"], sides[result["fastest_peer"]], sides["minihire"]


def test_the_figures_about_speed_are_those_of_the_benchmarks():
    ratio, peer, ours = benchmark("xeon-train")
    assert peer["title"] == "dense PyTorch, bf16"
    milliseconds = lambda *sides: " and ".join(f"{1000 * side['median_s']:.0f}" for side in sides) + " ms"
    mebibytes = " and ".join(f"{side['peak_bytes'] / 2**20:,.0f}" for side in (peer, ours)) + " MiB"
    assert f"dense PyTorch in bf16, needs {ratio:.2f} times minihire's time" in README
    assert f"({milliseconds(peer, ours)}, {mebibytes}; batch 32, T = 6)" in README
    ratio, peer, _ = benchmark("xeon-train-avx512")
    assert peer["title"] == "dense PyTorch"
    assert f"dense PyTorch in float32, needs {ratio:.2f} times minihire's time" in README
    _, peer, ours = benchmark("xeon-forward")
    assert peer["title"] == "dense PyTorch, bf16, compiled"
    assert f"({milliseconds(peer, ours)})" in README
