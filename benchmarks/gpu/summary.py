"""Tables of a GPU benchmark, and the ratios of figure 7 of the paper: HIRE / traditional training in time and memory."""

from benchmarks.gpu.cells import PEER_SIDES, PEERS
from benchmarks.report import MEBIBYTE
from minihire.report.tables import table

IMAGES = 50_000  # in an epoch of CIFAR-10


def cell_table(cell: dict) -> str:
    """The table of a cell, with one row per side."""
    rows, own = [], cell["sides"].get("minihire", {}).get("median_s")
    own = own or cell["sides"].get("minihire eager", {}).get("median_s")
    for name, side in cell["sides"].items():
        if "median_s" not in side:
            rows.append([name, side["note"], "", "", "", ""])
            continue
        times = f"{side['median_s'] / own:.2f}" if own else "–"
        memory = [_mebibytes(side["peak_bytes"]), _mebibytes(_scratch(side))]
        rows.append([name, f"{1e3 * side['median_s']:.3f}", f"{side['images_per_s']:,.0f}", times, *memory])
    title = f"{cell['model']}, batch {cell['batch']}, {cell['precision']}, {cell['task']}"
    return f"{title}\n" + table(["side", "ms", "images/s", "time / ours", "peak MiB", "scratch MiB"], rows)


def kernel_tables(kernels: dict) -> str:
    """Tables of the neuron and of Adam, compared with the time to copy the same number of bytes."""
    lif = [
        [r["layer"], str(r["batch"]), r["kernels"], *(f"{1e6 * t:,.0f}" for t in r["seconds"])]
        + [f"{share:.0%}" for share in r["share_of_floor"]]
        for r in kernels["lif"]["rows"]
    ]
    adam = [
        [r["precision"], f"{r['entries']:,}", f"{1e6 * r['seconds']:,.0f}", f"{r['share_of_floor']:.0%}"]
        for r in kernels["adam"]
    ]
    return (
        f"neurons, T = {kernels['lif']['steps']}; copy {kernels['lif']['copy_bytes_per_s'] / 1e9:,.0f} GB/s\n"
        + table(
            ["layer", "batch", "kernels", "forward µs", "backward µs", "forward, of bound", "backward, of bound"], lif
        )
        + "\n\nAdam on 8192×4096, including the gradient\n"
        + table(["precision", "entries per update", "µs", "of bound"], adam)
    )


def epoch_table(rows: list[dict]) -> str:
    """The table of whole epochs."""
    shown = [
        [
            r["method"],
            r["precision"],
            str(r["batch"]),
            f"{r['images']:,}",
            f"{r['seconds']:.2f}",
            f"{r['images_per_s']:,.0f}",
        ]
        for r in rows
    ]
    return "VGG5, whole epochs\n" + table(["method", "precision", "batch", "images", "seconds", "images/s"], shown)


def figures(content: dict) -> list[dict]:
    """Ratios of each cell: HIRE / traditional, fastest peer / minihire; and epoch times computed from step times."""
    found = []
    for cell in content["cells"]:
        sides = {name: side for name, side in cell["sides"].items() if "median_s" in side}
        own = next((sides[n] for n in ("minihire", "minihire eager") if n in sides), None)
        peers = {n: s for n, s in sides.items() if n in PEER_SIDES and PEERS[PEER_SIDES[n][0]].spiking}
        fastest = min(peers, key=lambda name: peers[name]["median_s"], default=None)
        row = {name: cell[name] for name in ("model", "batch", "precision", "task")}
        row |= {"fastest_peer": fastest, "times_fastest_peer": None}
        if own and fastest:
            row["times_fastest_peer"] = peers[fastest]["median_s"] / own["median_s"]
        hire = next((sides[n] for n in ("minihire HIRE", "minihire HIRE eager") if n in sides), None)
        if own and hire and own["how"] == hire["how"]:
            row |= {
                "hire_time_ratio": hire["median_s"] / own["median_s"],
                "hire_peak_ratio": _ratio(hire["peak_bytes"], own["peak_bytes"]),
                "hire_scratch_ratio": _ratio(_scratch(hire), _scratch(own)),
                "epoch_s": IMAGES / own["images_per_s"],
                "hire_epoch_s": IMAGES / hire["images_per_s"],
            }
        found.append(row)
    return found


def text(content: dict) -> str:
    """The summary of all results as text."""
    rows = [
        [
            f"{r['model']} {r['batch']} {r['precision']}",
            f"{r['hire_time_ratio']:.3f}",
            *(_share(r[key]) for key in ("hire_peak_ratio", "hire_scratch_ratio")),
            *(f"{r[key]:.2f}" for key in ("epoch_s", "hire_epoch_s")),
            "–" if r["times_fastest_peer"] is None else f"{r['times_fastest_peer']:.2f} ({r['fastest_peer']})",
        ]
        for r in content["summary"]
        if "hire_time_ratio" in r
    ]
    header = ["training", "HIRE: time", "peak", "scratch", "epoch s", "HIRE epoch s", "fastest peer / ours"]
    parts = [
        "HIRE (N = 2) / traditional training; epochs of 50,000 images, computed from the step time\n"
        + table(header, rows)
    ]
    if content["epochs"]:
        parts.append(epoch_table(content["epochs"]))
    if content["left_out"]:
        parts.append("not measured, because the time was over: " + "; ".join(content["left_out"]))
    parts.append(
        "peak: largest allocated device memory, including weights and optimiser; scratch: peak minus the memory held between "
        "steps; peers may use any cuDNN algorithm, minihire uses deterministic ones; times of --quick are meaningless"
    )
    return "\n\n".join(parts)


def _scratch(side):
    return None if side["peak_bytes"] is None else side["peak_bytes"] - side["held_bytes"]


def _ratio(a, b):
    return None if a is None or not b else a / b


def _share(value):
    return "–" if value is None else f"{value:.3f}"


def _mebibytes(size):
    return "–" if size is None else f"{size / MEBIBYTE:,.0f}"
