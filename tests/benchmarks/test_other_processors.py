"""The kernels on other processors: benchmarks.processors counts loops, and a training step runs on the oldest x86-64."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

from benchmarks import processors
from benchmarks.processors import ARM, TARGETS, X86
from minihire.runtime.errors import MinihireError

ROOT = Path(__file__).parents[2]
LOOP = """
define float @loop(ptr noalias %x, ptr noalias %out, i64 %n) {{
start:
  br label %body
body:
  %i = phi i64 [ 0, %start ], [ %next, %body ]
  %sum = phi float [ 0.0, %start ], [ %new, %body ]
  %from = getelementptr float, ptr %x, i64 %i
  %value = load float, ptr %from
  {line}
  %next = add nuw i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %body, label %end
end:
  ret float %new
}}
"""
SCALE = LOOP.format(
    line="""%new = fmul float %value, 3.0
  %to = getelementptr float, ptr %out, i64 %i
  store float %new, ptr %to"""
)
SUM = LOOP.format(line="%new = fadd float %sum, %value")  # in a fixed order, so it cannot be vectorised
MANY = 40  # vectors of four floats that are summed at once: more than any processor here has registers


def wide_sums():
    """Adds vectors at `x` to MANY · 4 sums, which do not fit the registers."""
    kind = f"<{4 * MANY} x float>"
    return f"""
define void @wide(ptr noalias %x, ptr noalias %out, i64 %n) {{
start:
  br label %body
body:
  %i = phi i64 [ 0, %start ], [ %next, %body ]
  %sum = phi {kind} [ zeroinitializer, %start ], [ %new, %body ]
  %from = getelementptr float, ptr %x, i64 %i
  %value = load {kind}, ptr %from, align 4
  %new = fadd {kind} %sum, %value
  %next = add nuw i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %body, label %end
end:
  store {kind} %new, ptr %out, align 4
  ret void
}}
"""


def count(source, target):
    triple, processor = TARGETS[target]
    return processors.count(processors.assembly(source, triple, processor), triple)


@pytest.mark.parametrize("target", TARGETS)
def test_loops_are_told_apart(target):
    scaled, summed, wide = (count(source, target) for source in (SCALE, SUM, wide_sums()))
    assert scaled["vector"] >= 1 and scaled["scalar"] == scaled["spills"] == 0
    assert summed["vector"] == 0 and summed["scalar"] >= 1
    assert wide["vector"] == 1 and wide["spills"] > 0


def test_code_outside_of_innermost_loops_is_not_counted():
    lines = [
        "outer:",
        ".LBB0_1:                   # =>This Loop Header: Depth=1",
        "\taddps\t%xmm1, %xmm0",
        ".LBB0_2:                   #   Parent Loop BB0_1 Depth=1",
        "                           # =>  This Inner Loop Header: Depth=2",
        "\tmulss\t%xmm1, %xmm0",
        "# %bb.3:                   #   in Loop: Header=BB0_1 Depth=1",
        "\taddps\t%xmm1, %xmm0",
        "# %bb.4:",
        "\taddps\t%xmm1, %xmm0",
    ]
    assert processors.innermost_loops("\n".join(lines)) == {("outer", "BB0_2"): ["mulss\t%xmm1, %xmm0"]}
    assert processors.count("\n".join(lines), X86)["scalar"] == 1


def test_single_lanes_are_counted_on_both_architectures():
    for triple, comment, moves, arithmetic in (
        (X86, "#", ["pextrq\t$1, %xmm0, %rax", "pinsrb\t$3, %eax, %xmm0"], "addps\t%xmm1, %xmm0"),
        (ARM, "//", ["mov\tx8, v0.d[1]", "mov\tv0.d[1], x8", "umov\tw9, v1.h[0]"], "fadd\tv0.4s, v0.4s, v1.4s"),
    ):
        lines = [
            "f:",
            f".LBB0_1: {comment} =>This Inner Loop Header: Depth=1",
            *(f"\t{m}" for m in [*moves, arithmetic]),
        ]
        found = processors.count("\n".join(lines), triple)
        assert (found["vector"], found["lanes"]) == (1, len(moves))


def test_the_command_writes_what_it_counted(monkeypatch, tmp_path, capsys):
    class Pool:
        def __init__(self, *_, **__): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def submit(self, _):
            return self

        def result(self):
            return {"lif.forward 0": SCALE}

    monkeypatch.setattr(processors, "ProcessPoolExecutor", Pool)
    processors.main(["--targets", "generic", "--json", str(tmp_path / "found.json"), "--assembly", str(tmp_path)])
    assert json.loads((tmp_path / "found.json").read_text())["lif.forward 0"]["generic"]["vector"] >= 1
    assert "mulps" in (tmp_path / "lif.forward-0-generic.s").read_text()
    assert "lif.forward 0" in capsys.readouterr().out


def test_an_unknown_target_is_one_sentence():
    with pytest.raises(MinihireError, match="pentium.*choose from generic"):
        processors.main(["--targets", "pentium"])


RELU = """
import json
from benchmarks.processors import ARM, X86, assembly, count, unoptimised

def calls(k):
    return [lambda: k.relu_backward(k.relu(k.zeros((1, 2, 64)))[1], k.zeros((1, 2, 64)))]

kernels = unoptimised(calls)
found = {name: count(assembly(source, ARM, "cortex-a72"), ARM) for name, source in kernels.items()}
found["SSE2"] = count(assembly(kernels["elementwise.relu_gradient 0"], X86, "generic"), X86)
print(json.dumps(found))
"""


def output(program, **environment):
    """What a program prints, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_relu_and_its_gradient_have_no_scalar_loop_without_masked_loads():
    found = json.loads(output(RELU))
    assert set(found) == {"elementwise.relu 0", "elementwise.relu_gradient 0", "SSE2"}
    for counts in found.values():
        assert counts["vector"] >= 1 and counts["scalar"] == 0


STEP = """
import numpy as np
from backends import get_backend
from backends.numba_cpu.simd.gather import HAS_AVX512
from minihire.layers import Conv2d, Flatten, Neuron, Readout
from minihire.models import assemble
from minihire.network import Network
from minihire.training.optimisers import Adam

assert not HAS_AVX512, "kernels hold more sums than this processor has registers"
layers = [Conv2d("conv", 16), Neuron("neuron"), Flatten(), Readout("readout", 4)]
model = assemble("tiny", layers, (4, 4, 3), 4, mean=(0,) * 3, std=(1,) * 3)
rng, steps, logits = np.random.default_rng(0), [], []
start = {}
for name, p in model.parameters(True).items():  # multiples of 1/64, so that sums are exact and the same neurons fire
    weight = np.rint((rng.standard_normal(p.shape) + 0.1) / np.sqrt(np.prod(p.shape[:-1])) * 64) / 64
    start[name] = np.full(1, 0.5) if len(weight) == 1 else weight
images, labels = rng.integers(0, 17, (8, 4, 4, 3)) / 16, rng.integers(0, 4, 8)
for name in ("reference", "numba"):
    k = get_backend(name)
    network = Network(model, k, {name: k.asarray(value) for name, value in start.items()}, spiking=True, steps=3)
    optimiser = Adam(network, list(start))
    found = network.gradients(k.asarray(images), k.asarray(labels))
    optimiser.step(found.weights, 2**-7)
    logits.append(k.to_numpy(found.logits))
    steps.append({name: k.to_numpy(value) - start[name] for name, value in network.parameters.items()})
np.testing.assert_array_equal(*logits)
assert np.ptp(logits[0]) > 0
for name, step in steps[0].items():
    assert np.any(step), name
    np.testing.assert_allclose(steps[1][name], step, atol=2**-7 * 1e-3, err_msg=name)
"""


def test_a_training_step_on_the_oldest_x86_64_equals_the_reference():
    """SSE2 alone: no AVX, no fused multiply-add. On other architectures: their plainest processor."""
    output(STEP, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
