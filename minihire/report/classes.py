"""The section on classes: the accuracy of each class, and the confusion matrices."""

from minihire.report.markup import Markup, join, table, tag
from minihire.report.pieces import details, network, note
from minihire.report.words import network_name, networks
from minihire.study.titles import ATTACK_TITLES

WHOLE = 20  # classes; of more, the page has a list of confusions instead of the matrix
LISTED = 15  # confusions in such a list


def classes(results) -> Markup | None:
    """The accuracy of each class on clean and on attacked images, and the confusion matrices. None if none was stored."""
    names = [str(name) for name in results["data"].get("classes", ())]
    found = {
        (row["model"], row["access"], row["attack"]): row["confusion"]
        for row in results["accuracy"]
        if "confusion" in row and row["access"] != "black_box"
    }
    if not found or not names:
        return None
    attack = next((attack for _, access, attack in reversed(found) if access == "white_box"), None)
    shown = networks(dict.fromkeys(model for model, _, _ in found))
    columns = [("clean", "none"), *([("white_box", attack)] if attack else [])]
    cell = lambda model, number: " → ".join(_share(found.get((model, *column)), number) for column in columns)
    counts = [f"{sum(row):,}" for row in next(iter(found.values()))]
    rows = [[name, counts[number], *(cell(model, number) for model in shown)] for number, name in enumerate(names)]
    draw = _matrix if len(names) <= WHOLE else _confusions
    matrices = [
        details(f"Confusions: {network_name(model)}, {ATTACK_TITLES.get(attack, attack)}", draw(matrix, names))
        for (model, _, attack), matrix in found.items()
    ]
    text = (
        "A row of a matrix has the test images of one class, a column those that the network predicts as one class. The attacks "
        "are white box."
        if draw is _matrix
        else f"The {LISTED} most frequent confusions. The attacks are white box."
    )
    under = f": clean → under {ATTACK_TITLES.get(attack, attack)}" if attack else ""
    listing = details(
        f"Accuracy of each of the {len(names)} classes, %{under}",
        table(["class", "images", *map(network, shown)], rows, class_="classes"),
    )
    return join([listing, *matrices, note(text)])


def _share(matrix, number):
    """The accuracy of one class in percent, as text. A dash if it has no image, or nothing was measured."""
    count = sum(matrix[number]) if matrix else 0
    return f"{100 * matrix[number][number] / count:.1f}" if count else "–"


def _matrix(matrix, names):
    """The confusion matrix as a table, in which a darker cell has a larger part of its row."""
    rows = []
    for number, (name, counts) in enumerate(zip(names, matrix, strict=True)):
        whole = sum(counts) or 1
        cells = [
            tag(
                "td",
                f"{count:,}" if count else "·",
                class_="agree" if number == column else "confused",
                style=f"--part:{round(100 * count / whole)}%",
            )
            for column, count in enumerate(counts)
        ]
        rows.append([name, *cells])
    return table(["", *names], rows, class_="confusion")


def _confusions(matrix, names):
    """The most frequent confusions of many classes."""
    pairs = [
        (count, label, predicted)
        for label, counts in enumerate(matrix)
        for predicted, count in enumerate(counts)
        if count and label != predicted
    ]
    most = sorted(pairs, key=lambda pair: (-pair[0], *pair[1:]))[:LISTED]
    return table(["label", "prediction", "images"], [[names[a], names[b], f"{count:,}"] for count, a, b in most])
