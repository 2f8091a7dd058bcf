"""Exercises of the lessons: solutions pass, stubs and mistakes fail with one sentence that says what is wrong."""

from pathlib import Path

import pytest

from minihire.app.cli import main
from minihire.app.exercises import EXERCISES

DEMOS = Path(__file__).parent.parent.parent / "demos"
NUMBERS = sorted(EXERCISES)


def solution(number):
    """The text of a lesson's solution."""
    return (DEMOS / "solutions" / f"{number:02d}_{EXERCISES[number].function}.py").read_text("utf-8")


@pytest.fixture
def checked(tmp_path, monkeypatch, capsys):
    """checked(number, text): the exit code, standard output and standard error of --check for a file with this text."""
    monkeypatch.chdir(tmp_path)

    def run(number, text):
        Path("mine.py").write_text(text, "utf-8")
        code = main(["demo", str(number), "--check", "mine.py"])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("number", NUMBERS)
def test_a_solution_passes_every_comparison(checked, number):
    code, out, error = checked(number, solution(number))
    *right, last = out.splitlines()
    assert (code, error) == (0, "")
    assert len(right) >= 3 and all(line.startswith("right: ") for line in right)
    assert last == f"Exercise {number} is solved: all {len(right)} comparisons with the library agree."


@pytest.mark.parametrize("number", NUMBERS)
def test_a_stub_fails_with_one_sentence(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", str(number), "--stub"]) == 0
    file, function = f"exercise_{number}.py", EXERCISES[number].function
    assert capsys.readouterr().out.startswith(
        f"{file}: write the body of {function}, then run `minihire demo {number} --check"
    )
    assert main(["demo", str(number), "--check", file]) == 2
    out, error = capsys.readouterr()
    [line] = error.splitlines()
    assert out == "" and line.startswith(f"minihire: {function} in {file} returns nothing: write its body, and return ")


def test_there_is_one_stub_and_one_solution_for_each_exercise():
    expected = [f"{number:02d}_{EXERCISES[number].function}.py" for number in NUMBERS]
    for folder in ("stubs", "solutions"):
        assert sorted(path.name for path in (DEMOS / folder).glob("*.py")) == expected


@pytest.mark.parametrize("number", NUMBERS)
def test_a_stub_says_what_the_solution_needs(number):
    """The same function with the same arguments; equations with the paper's numbers."""
    function = EXERCISES[number].function
    stub = (DEMOS / "stubs" / f"{number:02d}_{function}.py").read_text("utf-8")
    [signature] = [line for line in stub.splitlines() if line.startswith("def ")]
    assert signature in solution(number)
    assert "(equation " in stub and stub.endswith("    ...\n")


# what a student might write instead of a part of the solution: exercise, part, mistake, words of the answer
BOUNDED, PROJECTED = (
    "np.clip(kappa + step * np.sign(grad), -bound, bound)",
    "np.clip(moved, images - epsilon, images + epsilon)",
)
MISTAKES = {
    "fires at v": (1, "> threshold", ">= threshold", "to the threshold, which does not fire: expected s[1, 0] = 0, found 1"),
    "no leak": (1, "leak * m[t - 1]", "m[t - 1]", "too small for a spike: expected m[1, 0] = 0.27, found 0.3 (the first of 4"),
    "the leak acts on the reset": (1, "- threshold * s", "- leak * threshold * s", "wrong for spikes with a leak: expected m["),
    "one result": (1, "return m, s", "return m", "lif_forward returns one value instead of 2: m, s"),
    "a shape": (1, "return m, s", "return m, s[0]", "s has the shape [1] instead of [5, 1]"),
    "words": (1, "return m, s", "return 'm', 's'", "m should be numbers but is 'm'"),
    "no height of the surrogate": (3, "GAMMA * ", "", "wrong for a single time step: expected ∂L/∂I[0, 0] ="),
    "no leak backward": (3, "leak * later", "later", "a loss that depends on the last step only: expected ∂L/∂I["),
    "no gradient of the reset": (3, " - later * s[t]", "", "expected ∂L/∂v ="),
    "a leak's gradient without time": (3, "d[t] * m[t - 1]", "d[t] * m[t]", "expected ∂L/∂λ ="),
    "no sign": (5, "np.sign(grad)", "grad", "wrong for the first step, from κ = 0: expected κ[0, 0, 0, 0] ="),
    "a sign of 0": (5, "np.sign(grad)", "np.where(grad < 0, -1, 1)", "wrong for a small gradient, and a gradient of 0: expected"),
    "no bound": (5, BOUNDED, "kappa + step * np.sign(grad)", "κ that reaches its bound ±ε_t: expected"),
    "no projection": (6, PROJECTED, "moved", "leaves x ± ε and is projected: expected x̂["),
    "no clip": (6, f"np.clip({PROJECTED}, 0, 1)", PROJECTED, "wrong for black and white pixels, which stay in [0, 1]"),
    "downhill": (6, "attacked + alpha", "attacked - alpha", "one step of α = ε from the image: expected x̂[0, 0, 0, 0] ="),
    "complex numbers": (1, "return m, s", "return m + 0j, s", "m should be numbers but is array("),
    "changes kappa": (5, "return", "kappa += 1; return", "noise_step in mine.py changes its argument number 1"),
    "changes grad": (6, "moved =", "grad *= 2; moved =", "attack_step in mine.py changes its argument number 3"),
    "a sign of 0 in an attack": (6, "np.sign(grad)", "np.where(grad < 0, -1, 1)", "a small gradient, and a gradient of 0"),
    "a fixed epsilon": (6, PROJECTED, "np.clip(moved, images - 8 / 255, images + 8 / 255)", "wrong for a small gradient"),
}  # fmt: skip


@pytest.mark.parametrize(
    "part, other",
    [
        ("return m, s", "return np.array([m, s])"),
        ("    m, s = np", "    current = np.float32(current)\n    m, s = np"),
    ],
    ids=["stacked", "float32"],
)
def test_a_right_solution_in_another_style_passes(checked, part, other):
    assert part in solution(1)
    assert checked(1, solution(1).replace(part, other))[0] == 0


@pytest.mark.parametrize("number, part, mistake, words", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_the_first_value_that_differs(checked, number, part, mistake, words):
    text = solution(number)
    assert part in text
    code, _, error = checked(number, text.replace(part, mistake))
    [line] = error.splitlines()
    assert code == 2 and words in line


@pytest.mark.parametrize(
    "text, sentence",
    {
        "raises": (
            "def noise_step(kappa, grad, step, bound):\n    x = 1\n    return kapa\n",
            "noise_step in mine.py fails with NameError: name 'kapa' is not defined in line 3",
        ),
        "exits": ("def noise_step(*_):\n    raise SystemExit(7)\n", "fails with SystemExit: 7 in line 2"),
        "other arguments": (
            "def noise_step(kappa):\n    return kappa\n",
            "fails with TypeError: noise_step() takes 1 positional argument but 4 were given",
        ),
        "no Python": ("def noise_step(\n", "--check mine.py fails with SyntaxError: '(' was never closed"),
        "fails at once": ("x = 1 / 0\n", "--check mine.py fails with ZeroDivisionError: division by zero in line 1"),
        "another function": ("def step():\n    pass\n", "mine.py has no function noise_step: `minihire demo 5 --stub`"),
        "no function": ("noise_step = 3\n", "mine.py has no function noise_step"),
    }.values(),
)
def test_a_file_that_fails_is_told_in_one_sentence_with_its_line(checked, text, sentence):
    code, out, error = checked(5, text)
    [line] = error.splitlines()
    assert (code, out) == (2, "") and sentence in line


def test_a_missing_file_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "1", "--check", "none.py"]) == 2
    assert capsys.readouterr().err == "minihire: --check: there is no file none.py\n"


def test_a_function_that_changes_the_gradient_to_make_its_result_right_is_refused(checked):
    code, _, error = checked(5, "def noise_step(kappa, grad, step, bound):\n    grad[:] = 0\n    return kappa\n")
    assert code == 2 and "changes its argument number 2: " in error
