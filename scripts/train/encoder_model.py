"""ReStyle's encoder with the tensor names of yuval-alaluf/restyle-encoder, narrow enough to ship.

`BackboneEncoder`: an improved residual trunk with squeeze and excite (ArcFace's) that halves its input four times, and
one block for each style input that makes a code of its last map. All widths are free; those of the style blocks may be
less than the code's, where the originals have both the same.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

STRIDE = 16
"""How many pixels of the input one place of the trunk's last map stands for."""


def norm(width):
    """A batch norm as the originals have it; small batches, so its statistics remember more of them than usual."""
    return nn.BatchNorm2d(width, eps=1e-5, momentum=0.02)


class PReLU(nn.PReLU):
    """The activation, put so that its gradient is fast on a CPU: torch's own takes a third of a step there."""

    def forward(self, x):
        positive = F.relu(x)
        return torch.addcmul(positive, x - positive, self.weight[:, None, None])


class Squeeze(nn.Module):
    """Scales every channel by a factor that all of them decide."""

    def __init__(self, width, middle):
        super().__init__()
        self.fc1 = nn.Conv2d(width, middle, 1, bias=False)
        self.fc2 = nn.Conv2d(middle, width, 1, bias=False)

    def forward(self, x):
        factors = self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(factors)


class Unit(nn.Module):
    """A residual unit; its shortcut is a convolution where the width changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.stride = stride
        self.res_layer = nn.Sequential(
            norm(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            norm(outputs),
            Squeeze(outputs, max(outputs // 8, 2)),
        )
        self.shortcut_layer = None
        if inputs != outputs:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x):
        if self.shortcut_layer is not None:
            return self.res_layer(x) + self.shortcut_layer(x)
        return self.res_layer(x) + x[:, :, :: self.stride, :: self.stride]


class EqualLinear(nn.Module):
    """A linear layer whose weights are stored with unit variance and scaled when used."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x):
        return F.linear(x, self.weight * self.scale, self.bias)


class StyleBlock(nn.Module):
    """From the trunk's last map to one code: convolutions that halve it to one pixel, and a linear layer."""

    def __init__(self, inputs, middle, style_dim, side):
        super().__init__()
        layers = []
        while side > 1:
            layers += [nn.Conv2d(inputs, middle, 3, 2, 1), nn.LeakyReLU()]
            inputs, side = middle, side // 2
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(middle, style_dim)

    def forward(self, x):
        return self.linear(self.convs(x).flatten(1))


class Encoder(nn.Module):
    """Codes (batch, codes, style_dim) of a photo and the last result (batch, 6, side, side), to add to the last codes.

    `widths` are the stem's and the four stages', `units` the numbers of units in the stages, `middle` the width inside
    the style blocks.
    """

    def __init__(self, widths, units, middle, codes, style_dim, side):
        super().__init__()
        places = side // STRIDE
        if places < 2 or side % STRIDE or places & (places - 1):
            raise ValueError(f"an encoder's input is 32, 64, 128, … pixels wide, not {side}")
        if len(set(widths[1:])) < len(widths) - 1:
            raise ValueError(f"readers tell the stages by a change of width: {widths}")
        stem, *stages = widths
        self.side = side
        self.input_layer = nn.Sequential(nn.Conv2d(6, stem, 3, 1, 1, bias=False), norm(stem), PReLU(stem))
        body, inputs = [], stem
        for outputs, count in zip(stages, units, strict=True):
            for index in range(count):
                body.append(Unit(inputs, outputs, 1 if index else 2))
                inputs = outputs
        self.body = nn.Sequential(*body)
        self.styles = nn.ModuleList(StyleBlock(inputs, middle, style_dim, places) for _ in range(codes))

    def forward(self, x):
        x = self.body(self.input_layer(x.contiguous(memory_format=torch.channels_last)))
        return torch.stack([style(x) for style in self.styles], 1)


def channels(tiny=False):
    """The widths that are shipped, or those for tests."""
    if tiny:
        return {"widths": (4, 6, 8, 10, 12), "units": (1, 1, 1, 1), "middle": 8}
    return {"widths": (16, 16, 32, 64, 128), "units": (1, 2, 2, 2), "middle": 48}
