"""The result of a contest in words and tables."""

from minihire.report.tables import table

MEBIBYTE = 2**20


def ratios(rows: list[dict]) -> dict:
    """How many times longer than minihire each peer's median takes, and the fastest spiking one's; memory likewise."""
    own, peers = rows[0], rows[1:]
    rivals = [r for r in peers if r["spiking"] == own["spiking"]]
    fastest = min(rivals, key=lambda r: r["median_s"], default=None)
    return {
        "ratio_to_fastest_peer": fastest and fastest["median_s"] / own["median_s"],
        "ratio_memory_to_fastest_peer": fastest and own["peak_bytes"] / fastest["peak_bytes"],
        "ratios": {r["side"]: r["median_s"] / own["median_s"] for r in peers},
    }


def result_table(result: dict) -> str:
    """A row for each side: times, how many times minihire's, memory."""
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
    header = [threads(result["threads"]), "median", "minimum", "times the first", "peak memory"]
    return table(header, rows)


def density_table(rows: list[dict]) -> str:
    """A row for each side, a column for each neuron layer."""
    names = list(rows[0]["densities"])
    return table(["", *names], [[r["title"], *(f"{r['densities'][n]:.3f}" for n in names)] for r in rows])


def threads(count: int) -> str:
    """1 thread, 2 threads."""
    return f"{count} thread{'s' * (count > 1)}"


def settings(about: dict) -> list[str]:
    """What is measured, in a line or two."""
    model = about["model"]
    kind = f"T = {about['steps']}" if about["spiking"] else "ANN"
    density = "" if about["density"] is None else f", density {about['density']:g} forced on every layer"
    lines = [
        f"{model['name']}, width {model['width']:g}, batch {about['batch']}, {kind}{density}; "
        f"weights: {about['weights']}; images: {about['images']}"
    ]
    if about["moments"]:
        lines.append(
            f"Adam's moments: {about['moments']}; {about['denormal_share']:.2%} of them are denormal, "
            "the same for all sides"
        )
    if about.get("own_optimiser"):
        lines.append(f"minihire's optimiser: {about['own_optimiser']}; the peers' Adam has moments of 32 bits")
    return lines


def results(found: list[dict], memory: str) -> str:
    """Tables of times and memory, one for each number of threads, then the densities, and what memory means."""
    parts = [result_table(result) for result in found]
    parts.append("mean density: the share of neurons that fire in a step\n" + density_table(found[0]["sides"]))
    exact = all(row["exact"] for result in found for row in result["sides"])
    parts.append(memory + ("." if exact else "; here also the reading of the weights"))
    return "\n\n".join(parts)
