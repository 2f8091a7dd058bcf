"""Names of networks, data sets and attacks in tables, figures and pages, in the order in which they appear."""

TITLES = {  # networks, by the name in results.json
    "ann": "ANN",
    "converted": "converted SNN",
    "traditional": "traditional SNN",
    "control": "N periods, κ = 0",
    "gaussian": "Gaussian noise SNN",
    "hire": "HIRE-SNN",
    "hire-4x": "HIRE-SNN, 4× noise",
    "adversarial": "adversarial SNN",
    "adversarial-ann": "adversarial ANN",
}
DATA_TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "mnist": "MNIST"}
ATTACK_TITLES = {"none": "clean", "fgsm": "FGSM", "pgd": "PGD"}
ACCESS_TITLES = {"clean": "", "white_box": "white box", "black_box": "black box"}
ACCESS_SHORT = {"clean": "", "white_box": "wb", "black_box": "bb"}
COLUMNS = (  # (access, attack) of the columns of accuracy tables
    ("clean", "none"),
    ("white_box", "fgsm"),
    ("white_box", "pgd"),
    ("black_box", "fgsm"),
    ("black_box", "pgd"),
)


def model_name(model: str) -> str:
    """A model as printed in the paper: VGG5, ResNet12."""
    return model.replace("vgg", "VGG").replace("resnet", "ResNet")


def column_title(access: str, attack: str) -> str:
    """The heading of an accuracy column: FGSM wb."""
    return f"{ATTACK_TITLES.get(attack, attack)} {ACCESS_SHORT.get(access, access)}".strip()
