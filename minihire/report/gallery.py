"""Sections with pictures: attacked images, the noise κ, spike rasters and activity."""

import html

from minihire.report import charts, rasters
from minihire.report.markup import Markup, join, prose, table, tag
from minihire.report.pieces import details, grid, legend, network, note
from minihire.report.tables import number
from minihire.report.words import network_name, networks
from minihire.study.images import magnified
from minihire.study.titles import ATTACK_TITLES


def picture(png: str, words: str, side: int = 88) -> Markup:
    """An image from results.json, `side` pixels wide. png: base64 of a PNG file. words: description for screen readers."""
    source = Markup(f"data:image/png;base64,{html.escape(png)}")
    return tag("img", src=source, alt=words, width=side, height=side)


def examples(results) -> Markup | None:
    """A table with one column per test image: clean, then attacked image, perturbation and prediction per network."""
    rows = results["examples"]
    if not rows:
        return None
    classes, epsilon = results["data"]["classes"], max(results["config"]["epsilon"], 1 / 255)
    names = networks(dict.fromkeys(row["model"] for row in rows))
    by_name = {name: [row for row in rows if row["model"] == name] for name in names}
    clean = [
        tag("td", picture(row["clean_png"], f"test image, {classes[row['label']]}"), tag("span", classes[row["label"]]))
        for row in by_name[names[0]]
    ]
    attack = ATTACK_TITLES.get(rows[0]["attack"], rows[0]["attack"])
    body = [["test image", *clean]]
    for name in names:
        head = tag("th", network(name), tag("small", f"attacked with {attack}; perturbation below"), scope="row")
        body.append([head, *(_attacked(row, name, classes, epsilon) for row in by_name[name])])
    header = ["", *(f"{i + 1}" for i in range(len(clean)))]
    return join(
        [
            table(header, body, class_="examples"),
            note(
                f"Below each attacked image is its perturbation: grey is 0, black and white are "
                f"∓{255 * epsilon:.3g}/255 per channel (magnified {0.5 / epsilon:.3g} times). ",
                tag("span", "✓ right", class_="right"),
                ", ",
                tag("span", "✗ wrong", class_="wrong"),
                "; * the clean image is misclassified too.",
            ),
        ]
    )


def _attacked(row, name, classes, epsilon):
    predicted, label = classes[row["attacked_prediction"]], classes[row["label"]]
    right = row["attacked_prediction"] == row["label"]
    before = "" if row["clean_prediction"] == row["label"] else "*"
    words = f"{label}, attacked; {network_name(name)} says {predicted}"
    return tag(
        "td",
        picture(row["attacked_png"], words),
        picture(magnified(row["clean_png"], row["attacked_png"], epsilon), "its perturbation, magnified"),
        tag("span", f"{'✓' if right else '✗'} {predicted}{before}", class_="right" if right else "wrong"),
    )


def noise(results) -> Markup | None:
    """The noise κ after the last batch of a training, beside the training images of that batch."""
    models = results["models"]
    found = {name: models[name]["noise"] for name in networks(models) if models[name].get("noise")}
    if not found:
        return None
    parts = []
    for name, recorded in found.items():
        pairs = [
            tag(
                "div",
                picture(pair["image_png"], "training image, augmented", 96),
                picture(pair["kappa_png"], "its noise κ, magnified", 96),
                class_="pair",
            )
            for pair in recorded["images"]
        ]
        scale = f"grey is 0, black and white are ∓{recorded['scale']:.3g} ({255 * recorded['scale']:.3g}/255)"
        parts.append(tag("figure", tag("div", pairs, class_="pairs"), tag("figcaption", network(name), f": {scale}")))
    text = prose(
        "Training images of the last batch, each with the noise κ after the last period to its right. HIRE carries κ from batch "
        "to batch. Each period moves it by ε_s along the sign of the loss gradient, within ±ε_t (equation 6). So κ is not "
        "random: it points in the direction that increases the loss. Gaussian noise is drawn anew in each period. "
        "Adversarial training crafts κ anew for each batch, by the attack that the settings name."
    )
    return join([parts, note(text)])


def spikes(results) -> Markup | None:
    """Spike rasters of a few neurons per layer, then the mean activity and the spike distance of every layer."""
    parts = [_rasters(results), _activity(results)]
    return join(parts) if any(parts) else None


def _rasters(results):
    trains = results.get("spike_trains") or {}
    names = networks(trains)
    if not names:
        return (
            note("The version of minihire that made this run did not record spike trains.")
            if results["activity"]
            else None
        )
    attack = results["examples"][0]["attack"] if results["examples"] else "none"
    figures = [
        tag(
            "figure",
            tag("figcaption", network(name)),
            tag("div", [rasters.raster(name, layer) for layer in trains[name]], class_="rasters"),
        )
        for name in names
    ]
    steps = len(trains[names[0]][0]["rate_clean"])
    text = note(
        f"The first test image, clean and attacked with {ATTACK_TITLES.get(attack, attack)}. Each row is a neuron, each column "
        f"one of the first {steps} time steps. The neurons are evenly spaced among those that fire for either image. The count "
        "refers to the clean image. Below: the fraction of the layer that fires at each step, clean solid, attacked dashed."
    )
    return join([rasters.legend(steps), figures, text])


def _activity(results):
    rates = {
        name: {row["name"]: row["tasa"] for row in results["activity"][name] if row["tasa"] is not None}
        for name in networks(results["activity"])
    }
    rates = {name: layers for name, layers in rates.items() if layers}
    if not rates:
        return None
    drawings = [charts.layers("Spiking activity", "TASA: spikes per neuron and time step", rates)]
    distance = results["distance"]
    moved = {name: distance[name]["spikes"] for name in networks(distance) if distance[name].get("spikes")}
    caption = ""
    if moved:
        drawings.append(charts.layers("Spike distance", "‖r(x) − r(x̂)‖₂, r = spike count/T", moved))
        first = distance[next(iter(moved))]
        caption = (
            f" Spike distance (definition 2): change of a layer's firing rates under "
            f"{ATTACK_TITLES.get(first['attack'], first['attack'])}, mean over {first['images']:,} images."
        )
    layers = list(dict.fromkeys(layer for values in rates.values() for layer in values))
    rows = [[network(name), *(number(values.get(layer), 4) for layer in layers)] for name, values in rates.items()]
    return join(
        [
            legend(rates),
            grid(*drawings),
            note("Time-averaged spiking activity (definition 1) over all test images.", caption),
            details("The numbers", table(["TASA", *layers], rows), _distances(distance)),
        ]
    )


def _distances(distance):
    """A table of the perturbation distances in pixels and by layer."""
    names = networks(distance)
    layers = list(dict.fromkeys(layer for name in names for layer in distance[name].get("spikes", {})))
    rows = [
        [
            network(name),
            number(distance[name]["pixels"], 3),
            *(number(distance[name].get("spikes", {}).get(layer), 3) for layer in layers),
        ]
        for name in names
    ]
    return table(["distance", "pixels", *layers], rows)
