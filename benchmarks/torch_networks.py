"""PyTorch networks of the shape of torchvision's VGG (with BatchNorm) and ResNet, but small."""

import torch
from torch import nn


class VGG(nn.Module):
    """torchvision.models.vgg11_bn, with another width. pool: MaxPool2d in torchvision."""

    def __init__(self, width=4, classes=5, rows=("A", 1, "A", 2, 2, "A"), grid=7, hidden=16, pool=nn.MaxPool2d):
        super().__init__()
        layers, channels = [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)], width
        for row in rows:
            if row == "A":
                layers.append(pool(kernel_size=2, stride=2))
            else:
                layers += [
                    nn.Conv2d(channels, row * width, 3, padding=1),
                    nn.BatchNorm2d(row * width),
                    nn.ReLU(inplace=True),
                ]
                channels = row * width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((grid, grid))
        self.classifier = nn.Sequential(
            *(nn.Linear(channels * grid * grid, hidden), nn.ReLU(True), nn.Dropout()),
            *(nn.Linear(hidden, hidden), nn.ReLU(True), nn.Dropout()),
            nn.Linear(hidden, classes),
        )

    def forward(self, x):
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


class BasicBlock(nn.Module):
    """torchvision.models.resnet.BasicBlock: one ReLU module is called twice."""

    expansion = 1

    def __init__(self, inputs, features, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.downsample = downsample(inputs, features, stride)

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """torchvision.models.resnet.Bottleneck."""

    expansion = 2

    def __init__(self, inputs, features, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, features, 1, bias=False), nn.BatchNorm2d(features)
        self.conv2, self.bn2 = nn.Conv2d(features, features, 3, stride, 1, bias=False), nn.BatchNorm2d(features)
        self.conv3, self.bn3 = nn.Conv2d(features, 2 * features, 1, bias=False), nn.BatchNorm2d(2 * features)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample(inputs, 2 * features, stride)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


def downsample(inputs, features, stride):
    """The shortcut's 1×1 convolution, or None for the identity."""
    if stride == 1 and inputs == features:
        return None
    return nn.Sequential(nn.Conv2d(inputs, features, 1, stride, bias=False), nn.BatchNorm2d(features))


class ResNet(nn.Module):
    """torchvision.models.resnet18 with another width. stem: the max pool after the first convolution."""

    def __init__(self, block=BasicBlock, width=4, classes=5, stem=True, size=7):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, size, 2 if stem else 1, size // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem else nn.Identity()
        layers, inputs = [], width
        for features, stride in ((width, 1), (width, 1), (2 * width, 2), (4 * width, 2)):
            layers.append(block(inputs, features, stride))
            inputs = features * block.expansion
        self.layer1, self.layer2, self.layer3 = nn.Sequential(*layers[:2]), layers[2], layers[3]
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))
