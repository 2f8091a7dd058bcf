"""Text and tables for the results of a benchmark."""

from minihire.report.tables import table

MEBIBYTE = 2**20


def ratios(rows: list[dict]) -> dict:
    """Ratios of the first side to the others.

    "ratios", "ratio_to_fastest_peer" and "ratio_to_fastest_float32_peer" are median times of a peer divided by the first side's;
    above 1, the first side is faster. The fastest peer is the fastest of any precision that has the first side's task and is
    spiking like the first side; "fastest_peer" and "fastest_float32_peer" are names. "ratio_memory_to_fastest_peer" is the first
    side's peak memory divided by the fastest peer's. Without such a peer, values are None.
    """
    own, peers = rows[0], [r for r in rows[1:] if r["task"] == rows[0]["task"]]
    comparable = [r for r in peers if r["spiking"] == own["spiking"]]
    fastest, float32 = (
        min((r for r in comparable if r["precision"] in types), key=lambda r: r["median_s"], default=None)
        for types in (("float32", "bf16"), ("float32",))
    )
    return {
        "fastest_peer": fastest and fastest["side"],
        "ratio_to_fastest_peer": fastest and fastest["median_s"] / own["median_s"],
        "fastest_float32_peer": float32 and float32["side"],
        "ratio_to_fastest_float32_peer": float32 and float32["median_s"] / own["median_s"],
        "ratio_memory_to_fastest_peer": fastest and own["peak_bytes"] / fastest["peak_bytes"],
        "ratios": {r["side"]: r["median_s"] / own["median_s"] for r in peers},
    }


def result_table(result: dict) -> str:
    """One row per side: times, median time divided by the first side's, peak memory. Then a sentence names the fastest peers."""
    own = result["sides"][0]
    rows = [
        [
            row["title"],
            f"{1000 * row['median_s']:.1f} ms",
            f"{1000 * row['minimum_s']:.1f} ms",
            f"{row['median_s'] / own['median_s']:.2f}",
            f"{row['peak_bytes'] / MEBIBYTE:,.0f} MiB",
        ]
        for row in result["sides"]
    ]
    header = [threads(result["threads"]), "median", "minimum", "ratio", "peak memory"]
    titles = {row["side"]: row["title"] for row in result["sides"]}
    fastest = [
        f"fastest {kind}: {titles[result[name]]}, {result[f'ratio_to_{name}']:.2f} times the time of {own['title']}"
        for kind, name in (("peer", "fastest_peer"), ("float32 peer", "fastest_float32_peer"))
        if result.get(name)
    ]
    return "\n".join([table(header, rows), *fastest])


def density_table(rows: list[dict]) -> str:
    """One row per side, one column per neuron layer."""
    names = list(rows[0]["densities"])
    return table(["", *names], [[r["title"], *(f"{r['densities'][n]:.3f}" for n in names)] for r in rows])


def threads(count: int) -> str:
    """A number of threads as text, for example "2 threads"."""
    return f"{count} thread{'s' * (count > 1)}"


def settings(about: dict) -> list[str]:
    """Lines that describe the network, batch and optimiser state that are measured."""
    model = about["model"]
    kind = f"T = {about['steps']}" if about["spiking"] else "ANN"
    density = (
        "" if about["density"] is None else f", thresholds set for a density of {about['density']:g} in every layer"
    )
    lines = [
        f"{model['name']}, width {model['width']:g}, batch {about['batch']}, {kind}{density}; "
        f"weights: {about['weights']}; images: {about['images']}"
    ]
    if about["moments"]:
        lines.append(
            f"Adam's moments, the same for all sides: {about['moments']}; {about['denormal_share']:.2%} of them are "
            "denormal numbers"
        )
    if about.get("own_optimiser"):
        lines.append(f"minihire's optimiser: {about['own_optimiser']}; the other sides use Adam with 32-bit moments")
    if about["instructions"] != "native":
        variables = " ".join(f"{name}='{value}'" for name, value in about["environment"].items())
        lines.append(f"instructions of all sides up to {about['instructions'].upper()}: {variables}")
    if about["busy"]:
        lines.append(f"busy processes beside the contest: {about['busy']}")
    return lines


def instruction_sets(rows: list[dict]) -> str:
    """What the libraries of each side report, one line for all sides that report the same."""
    sides = {}
    for row in rows:
        sides.setdefault(", ".join(" ".join(pair) for pair in row["instructions"].items()), []).append(row["title"])
    return "\n".join(f"{'; '.join(titles)}: {text}" for text, titles in sides.items())


def results(found: list[dict], memory: str) -> str:
    """Tables of times and memory for each number of threads, then the densities, and the definition of peak memory."""
    parts = [result_table(result) for result in found]
    parts.append("mean density: fraction of neurons that fire in a step\n" + density_table(found[0]["sides"]))
    parts.append("instruction sets, as the libraries report them\n" + instruction_sets(found[0]["sides"]))
    exact = all(row["exact"] for result in found for row in result["sides"])
    parts.append(memory + ("." if exact else "; on this system, loading the weights is included"))
    return "\n\n".join(parts)
