"""Which loops of the Numba kernels become vector instructions on other processors: compiled for them, not run on them.

    python -m benchmarks.processors [--targets NAMES] [--assembly DIR] [--json PATH]

Numba compiles all kernels without optimisation in a second process. LLVM then optimises each one for every target, with Numba's
passes, and writes assembly, with comments that name loops and spills. Of the innermost loops, the command counts

    vector      those that compute floats with vector instructions
    remainder   those that compute floats with scalar instructions only, if a vector loop of the same function has the same
                operations: they do the last few entries of an array
    scalar      others that compute floats with scalar instructions only
    lanes       moves of single entries into and out of vectors: the compiler makes them where the processor has no vector
                instruction for an operation
    spills      vectors that vector loops write to the stack or read from it, because the registers do not suffice
"""

import json
import os
import re
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from backends import surrogates
from backends.arrays import CurrentGradient, OuterProduct, SpikeTrain
from benchmarks.command import add_json, run
from minihire.app.flags import Parser
from minihire.report.tables import table
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
TARGETS = {  # name: (triple, LLVM's name of the processor)
    "generic": (X86, "generic"),  # SSE2: NUMBA_CPU_NAME=generic
    "haswell": (X86, "haswell"),  # AVX2
    "cortex-a72": (ARM, "cortex-a72"),  # NEON, as in a Raspberry Pi 4
    "apple-m1": (ARM, "apple-m1"),
}
OPERATION = {  # in a loop's instructions: (operation, p for packed) or (operation, first operand)
    X86: re.compile(r"v?(fn?m(?:add|sub)|add|sub|mul|div|sqrt|max|min)(?:\d{3})?([ps])[sd]\b"),
    ARM: re.compile(r"f(n?m(?:add|sub|la|ls)|add|sub|n?mul|div|sqrt|max|min)(?:nm)?\t(\S+),"),
}
LANE = {
    X86: re.compile(r"v?(?:pextr|pinsr)[bwdq]\b|v?(?:insert|extract)ps\b"),
    ARM: re.compile(r"[us]mov\t|(?:mov|fmov)\t(?:[wx]\d+, [vd]\d|v\d+\.\S+, [wx]|d\d+, x)"),
}
SPILL = re.compile(r"(?:16|32|64)-byte (?:Folded )?(?:Spill|Reload)")


def every_kernel(k) -> list:
    """Calls of all kernels: those that ahead.py lists, and others, for wider windows, dense products and rare operations."""
    from backends.numba_cpu.runtime import ahead

    counts, zeros = np.ones((2, 8, 4, 4, 64), np.uint8), np.zeros(8, np.int64)
    counts[..., ::5, :] = 0
    spikes, floats, ones = SpikeTrain(counts, 1.0, True), counts.astype(k.float), np.ones(counts.shape, k.float)
    weight, grad, one = k.zeros((5, 5, 64, 64)), CurrentGradient(k.zeros((2, 8, 64)), k.float.type(1)), k.asarray([1.0])
    return ahead.kernels(k) + [
        lambda: k.conv2d(spikes, weight, 1, 2),
        lambda: k.conv2d(floats, weight, 1, 2),
        lambda: k._conv2d_weight_gradient(ones, ones, 5, 1, 2),
        lambda: k._conv2d_input_gradient(ones, weight, ones.shape, 1, 2),
        lambda: k.image_batch(counts[0], zeros, np.zeros((8, 2), np.int64), zeros, 1),
        lambda: k.asarray(OuterProduct(k.reshape(spikes, (2, 8, 1024)), grad)),
        lambda: k.add(spikes, floats),
        lambda: k.lif_backward(k.lif_forward(ones, None, one, one, 2)[2], floats, None, surrogates.adaptive()),
    ]


def unoptimised(calls=every_kernel) -> dict[str, str]:
    """LLVM IR before optimisation of each kernel in calls(backend). Only for a process that has not imported Numba."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ.update(NUMBA_OPT="0", NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="", MINIHIRE_CACHE_DIR=cache)
        from numba.core.codegen import CPUCodeLibrary
        from numba.core.dispatcher import Dispatcher
        from numba.core.errors import NumbaWarning

        from backends.numba_cpu import NumbaBackend

        warnings.simplefilter("ignore", NumbaWarning)  # Numba cannot cache code that is not optimised
        modules, finish = {}, CPUCodeLibrary._optimize_final_module

        def keep(library):  # before machine code is generated, which adds instructions of this processor
            finish(library)
            modules[library] = str(library._final_module)

        CPUCodeLibrary._optimize_final_module = keep
        for call in calls(NumbaBackend(threads=1)):
            call()
        ours = [module for name, module in sys.modules.items() if name.startswith("backends.numba_cpu.kernels.")]
        kernels = {f for module in ours for f in vars(module).values() if isinstance(f, Dispatcher)}
        return {
            f"{kernel.py_func.__module__.rpartition('.')[2]}.{kernel.__name__} {number}": modules[overload.library]
            for kernel in kernels
            if kernel.targetoptions.get("parallel")
            for number, overload in enumerate(kernel.overloads.values())
        }


def assembly(source: str, triple: str, processor: str) -> str:
    """Assembly of a kernel for a processor, with comments about loops and spills."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=processor, opt=3)
    machine.set_asm_verbosity(True)
    # Numba's functions that count references are always compiled first, so they contain one intrinsic of x86.
    module = llvm.parse_assembly(source.replace("llvm.x86.atomic", "x86_atomic").replace(" immarg", ""))
    module.triple, module.data_layout = triple, str(machine.target_data)
    for level in (0, 3):  # Numba inlines first, removes reference counting, then optimises
        options = llvm.create_pipeline_tuning_options(speed_level=level)
        options.loop_vectorization = options.slp_vectorization = level == 3
        builder = llvm.create_pass_builder(machine, options)
        passes = builder.getModulePassManager()
        if level == 0:
            passes.add_loop_rotate_pass()
            passes.add_instruction_combine_pass()
            passes.add_jump_threading_pass()
        passes.add_refprune_pass()
        passes.run(module, builder)
    return machine.emit_assembly(module)


def innermost_loops(text: str) -> dict[tuple[str, str], list[str]]:
    """The instructions of each innermost loop, by (function, label)."""
    loops, innermost, function, label, loop = {}, set(), "", "", ""
    for line in text.splitlines():
        start = re.match(r"\.L(BB\d+_\d+):|[#/]+ %bb\.\d+:", line)
        if start:
            label, loop = start[1] or "", ""
        elif name := re.match(r"([^\s.#/][^:]*):", line):
            function, loop = name[1], ""
        if header := re.search(r"This (Inner )?Loop Header", line):
            loop = label
            if header[1]:
                innermost.add(label)
        elif inside := re.search(r"in Loop: Header=(BB\d+_\d+)", line):
            loop = inside[1]
        if loop and re.match(r"\t[a-z]", line):
            loops.setdefault((function, loop), []).append(line.strip())
    return {key: lines for key, lines in loops.items() if key[1] in innermost}


def count(text: str, triple: str) -> dict[str, int]:
    """The numbers of vector, remainder and scalar loops of a kernel, and the moves of lanes and spills in them."""
    found, vectors, scalars = dict.fromkeys(("vector", "remainder", "scalar", "lanes", "spills"), 0), [], []
    for (function, _), lines in innermost_loops(text).items():
        matches = [match for match in map(OPERATION[triple].match, lines) if match]
        operations = {match[1] for match in matches}
        found["lanes"] += sum(bool(LANE[triple].match(line)) for line in lines)
        if any(match[2] == "p" or match[2].startswith("v") for match in matches):
            vectors.append((function, operations))
            found["spills"] += sum(bool(SPILL.search(line)) for line in lines)
        elif operations:
            scalars.append((function, operations))
    found["vector"] = len(vectors)
    for function, operations in scalars:
        again = any(function == other and operations <= known for other, known in vectors)
        found["remainder" if again else "scalar"] += 1
    return found


def main(arguments: list[str] | None = None) -> None:
    """Compile for all targets, print a table, and write the files that were asked for."""
    parser = Parser(prog="python -m benchmarks.processors", description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default=",".join(TARGETS), metavar="NAMES", help=f"default: {','.join(TARGETS)}")
    parser.add_argument("--assembly", type=Path, metavar="DIR", help="write the assembly to this folder")
    add_json(parser)
    options = parser.parse_args(arguments)
    names = [name.strip() for name in options.targets.split(",")]
    if unknown := [name for name in names if name not in TARGETS]:
        raise MinihireError(f"there is no target {unknown[0]!r}: choose from {', '.join(TARGETS)}")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        kernels = pool.submit(unoptimised).result()
    found: dict[str, dict] = {kernel: {} for kernel in sorted(kernels)}
    for kernel, counts in found.items():
        for name in names:
            text = assembly(kernels[kernel], *TARGETS[name])
            counts[name] = count(text, TARGETS[name][0])
            if options.assembly:
                options.assembly.mkdir(parents=True, exist_ok=True)
                (options.assembly / f"{kernel.replace(' ', '-')}-{name}.s").write_text(text)
    rows = [
        [kernel, *("{vector} {remainder} {scalar} {lanes} {spills}".format(**counts[name]) for name in names)]
        for kernel, counts in found.items()
    ]
    print("each cell: vector, remainder and scalar loops; moves of lanes; spills\n" + table(["", *names], rows))
    if options.json:
        write_atomically(options.json, lambda file: file.write(json.dumps(found, indent=1).encode()))


if __name__ == "__main__":
    sys.exit(run(main))
