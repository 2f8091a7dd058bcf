"""Text about a run, from the content of results.json: its title, names, and a summary paragraph."""

from minihire.runtime.progress import duration
from minihire.study.settings import ANN_METHODS
from minihire.study.titles import ATTACK_TITLES, DATA_TITLES, TITLES, model_name

METHOD_PHRASES = {
    "traditional": "by traditional training",
    "control": "in N periods without noise",
    "gaussian": "with Gaussian noise",
    "hire": "with HIRE",
    "hire-4x": "with HIRE at four times the noise",
    "adversarial": "by adversarial training",
}
SHOWN = 0.05  # the smallest difference of two accuracies, in points, that text with one decimal shows


def title(results) -> str:
    """The title of a run, for example "VGG5 on CIFAR-10"."""
    return f"{_model(results['config'])} on {data_name(results)}"


def _model(config):
    return model_name(str(config.get("model", "a network")))


def data_name(results) -> str:
    """The data set's usual spelling, for example "CIFAR-10", or else its name in results.json."""
    name = str(results["data"].get("name") or results["config"].get("data", "unknown data"))
    return DATA_TITLES.get(name, name)


def network_name(name: str) -> str:
    """The title of a network, for example "HIRE-SNN", or "HIRE-SNN, second seed" for the name "second hire"."""
    base = name.removeprefix("second ")
    return TITLES.get(base, base) + (", second seed" if base != name else "")


def networks(names) -> list[str]:
    """The networks of the first seed, in the order of TITLES; unknown names come last."""
    order = list(TITLES)
    first_seed = [name for name in names if not name.startswith("second ")]
    return sorted(first_seed, key=lambda name: order.index(name) if name in order else len(order))


def result(results) -> str:
    """What the run found, in a few sentences: what HIRE gained over traditional training, and what it cost.

    Without both networks, the accuracies under the last attack. An empty text if no attack was measured.
    """
    rows = {(row["model"], row["access"], row["attack"]): row for row in results["accuracy"]}
    attacks = [attack for _, access, attack in rows if access == "white_box"]
    if not attacks:
        return ""
    name = attacks[-1]
    percent = lambda model, access, attack: 100 * rows[model, access, attack]["accuracy"]
    attacked = [model for model, access, attack in rows if (access, attack) == ("white_box", name)]
    under = {model: percent(model, "white_box", name) for model in networks(attacked)}
    attack = f"{ATTACK_TITLES.get(name, name)} (white box)"
    if {"hire", "traditional"} - under.keys():
        parts = [f"{share:.1f} % by the {network_name(model)}" for model, share in under.items()]
        return f"Under {attack}, these parts of the test images are classified correctly: {listed(parts)}."
    gained = under["hire"] - under["traditional"]
    words = (
        f"Under {attack}, HIRE classifies {under['hire']:.1f} % of the test images correctly and traditional training "
        f"{under['traditional']:.1f} %: {_points(gained)}."
    )
    if abs(gained) >= SHOWN:
        words += _chance(*(rows[model, "white_box", name] for model in ("hire", "traditional")))
    if all((model, "clean", "none") in rows for model in ("hire", "traditional")):
        clean = percent("hire", "clean", "none") - percent("traditional", "clean", "none")
        counts = [rows[model, "clean", "none"] for model in ("hire", "traditional")]
        of = f" ({counts[0]['correct']:,} and {counts[1]['correct']:,} of {counts[0]['count']:,} images)"
        words += f" On clean images: {_points(clean)}{of}.{_time_of_training(results['phases'])}"
    return words


def _chance(ours, theirs):
    """A sentence if the intervals of two accuracies overlap."""
    if ours["low"] > theirs["high"] or theirs["low"] > ours["high"]:
        return ""
    counts = f"{ours['correct']:,} and {theirs['correct']:,} of {ours['count']:,}"
    return (
        f" The 95 % intervals overlap ({counts} images); a paired test on these images could still tell the two apart."
    )


def _points(difference):
    """A difference of two accuracies in words."""
    if abs(difference) < SHOWN:
        return "no difference"
    return f"HIRE is {abs(difference):.1f} points {'higher' if difference > 0 else 'lower'}"


def _time_of_training(phases):
    """HIRE's time of training beside that of traditional training, in words."""
    times = [phases.get(f"train {model}", {}).get("seconds") for model in ("hire", "traditional")]
    return f" HIRE's training took {times[0] / times[1]:.2f} times as long." if all(times) else ""


def summary(results) -> str:
    """One paragraph about the run: data, network, training, attacks, seed, machine and time."""
    config, data = results["config"], results["data"]
    sentences = [_data(data, results), _network(config), _training(config), _attacks(config), _computed(results)]
    text = " ".join(sentence for sentence in sentences if sentence)
    return text if results.get("finished") else f"When this run is finished: {text}"


def _data(data, results):
    if not data:
        return ""
    held = f" and {data['heldout']:,} held-out" if data["heldout"] else ""
    size = " × ".join(f"{n}" for n in data["image_shape"])
    images = f"images of {data_name(results)} ({len(data['classes'])} classes, {size})"
    return f"{data['train']:,} training{held} {images}; accuracy is measured on {data['test']:,} test images."


def _network(config):
    size = [] if config["width"] == 1 else [f"width {config['width']:g}"]
    size += [f"hidden layers of {config['hidden']:,}"] if config["hidden"] else []
    inside = f" ({', '.join(size)})" if size else ""
    epochs = config["ann_epochs"]
    return (
        f"{_model(config)}{inside} was trained as an ANN for {_count(epochs, 'epoch')} and converted into a spiking "
        f"network of T = {config['steps']} time steps with {config['coding']} input coding."
    )


def _training(config):
    chosen, spiking = config["methods"], [method for method in config["methods"] if method not in ANN_METHODS]
    methods = [METHOD_PHRASES.get(method, method) for method in spiking]
    periods = {"control", "gaussian", "hire", "hire-4x"} & set(chosen)
    noise = {"gaussian", "hire", "hire-4x"} & set(chosen)
    settings = [f"N = {config['periods']} periods"] if periods else []
    settings += [f"ε_s = {config['noise_step']:g}"] if noise else []
    settings += [_attack_of_training(config)] if "adversarial" in chosen else []
    inside = f" ({', '.join(settings)})" if settings else ""
    frozen = ", thresholds and leaks frozen" if config["freeze"] else ""
    epochs = _count(config["snn_epochs"], "epoch")
    words = f"Then it was trained for {epochs} {listed(methods)}{inside}{frozen}." if methods else ""
    if "adversarial-ann" in chosen:
        words += f" An ANN was trained adversarially, too, from fresh weights ({_attack_of_training(config)})."
    return words.strip()


def _attack_of_training(config):
    iterations, epochs = config["adversarial_iterations"], config.get("adversarial_epochs")
    name = "FGSM-RS" if iterations == 1 else f"PGD-{iterations}"
    other = f", {_count(epochs, 'epoch')}" if epochs and "adversarial" in config["methods"] else ""
    return f"{name} at ε = {255 * config['adversarial_epsilon']:.4g}/255{other}"


def _attacks(config):
    epsilon = f"{255 * config['epsilon']:.4g}/255"
    pgd = f"PGD-{config['iterations']} (α = {config['alpha']:g}) at ε = {epsilon}"
    black = (
        f", and black box with images crafted on networks of seed {config['seed'] + 1}" if config["black_box"] else ""
    )
    return f"Every network was attacked with FGSM and {pgd}, white box{black}. Seed {config['seed']}, one run."


def _computed(results):
    machine, phases = results["machine"], results["phases"]
    ranks = machine.get("ranks", 1)
    where = f"{_count(ranks, 'process', 'processes')} on {machine['device']}" if ranks > 1 else machine["device"]
    if machine["device"] == "cpu" and ranks == 1:
        where = f"the CPU with {_count(machine['threads'], 'thread')}"
    precision = machine.get("precision", machine["dtype"])
    took = f" in {duration(sum(phase['seconds'] for phase in phases.values()))}" if phases else ""
    took += " so far" if took and not results.get("finished") else ""
    started = f", started {machine['started'][:10]}" if machine.get("started") else ""
    return f"minihire {results['minihire']} ran on {where} ({machine['backend']} backend, {precision}){took}{started}."


def _count(number, one, many=None):
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(words: list[str], last: str = "and") -> str:
    """Words as a list in text, for example "a, b and c"."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
