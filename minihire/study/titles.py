"""How methods, data sets and models are called in tables, figures and pages."""

TITLES = {
    "ann": "ANN",
    "converted": "converted SNN",
    "traditional": "traditional SNN",
    "control": "N periods, κ = 0",
    "gaussian": "Gaussian noise SNN",
    "hire": "HIRE-SNN",
}
DATA_TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "mnist": "MNIST"}


def model_name(config) -> str:
    """The model as printed in the paper, for example "VGG5" or "ResNet12"."""
    return str(config.get("model", "a network")).replace("vgg", "VGG").replace("resnet", "ResNet")
