"""The discriminator of a projected GAN, and what its training needs besides.

Small heads judge random projections of a frozen network's feature maps (Sauer et al., "Projected GANs Converge
Faster", 2021); one more head judges the pixels. Both see augmented pictures (Zhao et al., "Differentiable
Augmentation", 2020).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

PROJECTED = (32, 64, 128, 256)
"""Channels of the projected feature maps."""


class Projection(nn.Module):
    """Random 1 x 1 convolutions that mix a network's feature maps, across channels and, top down, across scales."""

    def __init__(self, widths):
        super().__init__()
        outputs = PROJECTED
        self.mix = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(widths, outputs))
        below = (outputs[0], *outputs[:-1])
        self.lift = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(outputs, below))
        for conv in (*self.mix, *self.lift):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
            nn.init.zeros_(conv.bias)
        self.requires_grad_(False)

    @torch.no_grad()
    def calibrate(self, maps):
        """Scales and shifts the channel mixes so that these maps come out with unit deviation and no mean."""
        for conv, features in zip(self.mix, maps):
            conv.weight.div_(conv(features).std())
            conv.bias.copy_(-conv(features).mean((0, 2, 3)))

    def forward(self, maps):
        mixed = [conv(features) for conv, features in zip(self.mix, maps)]
        out = [mixed[-1]]
        for conv, features in zip(self.lift[:0:-1], mixed[-2::-1]):
            lifted = F.interpolate(conv(out[0]), scale_factor=2, mode="bilinear", align_corners=False)
            out.insert(0, (lifted + features) * math.sqrt(0.5))
        out[0] = self.lift[0](out[0])
        return out


class SpectralConv(nn.Module):
    """A convolution divided by an estimate of its weight's largest singular value."""

    def __init__(self, inputs, outputs, size, stride=1, padding=0, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, size, size))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.register_buffer("left", F.normalize(torch.randn(outputs), dim=0))
        self.register_buffer("right", F.normalize(torch.randn(inputs * size * size), dim=0))
        self.stride = stride
        self.padding = padding

    @torch.no_grad()
    def iterate(self, count=1):
        """Improves the estimate by power iteration."""
        matrix = self.weight.flatten(1)
        for _ in range(count):
            self.right.copy_(F.normalize(matrix.t() @ self.left, dim=0))
            self.left.copy_(F.normalize(matrix @ self.right, dim=0))

    def forward(self, x):
        norm = torch.dot(self.left, self.weight.flatten(1) @ self.right)
        return F.conv2d(x, self.weight / norm, self.bias, self.stride, self.padding)


def unit(inputs, outputs, size=4, stride=2, padding=1):
    """A convolution, the batch's own normalisation and the activation."""
    conv = SpectralConv(inputs, outputs, size, stride, padding)
    return [conv, nn.BatchNorm2d(outputs, track_running_stats=False), nn.LeakyReLU(0.2, inplace=True)]


def feature_head(width, side):
    """A head over maps of `width` channels and `side` x `side` places: down to 4 or 8 places, then one logit each."""
    if side <= 4:
        layers = unit(width, 128, size=1, stride=1, padding=0)
    elif side <= 8:
        layers = unit(width, 128, size=3, stride=1)
    else:
        layers = []
        while side > 8:
            outputs = 128 if side == 16 else 64
            layers += unit(width, outputs)
            width, side = outputs, side // 2
    return nn.Sequential(*layers, SpectralConv(128, 1, min(side, 4)), nn.Flatten())


def pixel_head(side):
    """A head over the pictures themselves."""
    layers = [SpectralConv(3, 16, 4, 2, 1, bias=True), nn.LeakyReLU(0.2, inplace=True)]
    width, side = 16, side // 2
    while side > 8:
        outputs = min(2 * width, 128)
        layers += unit(width, outputs)
        width, side = outputs, side // 2
    return nn.Sequential(*layers, SpectralConv(width, 1, 4), nn.Flatten())


class Discriminator(nn.Module):
    """The heads: one for each projected map, one for the pixels."""

    def __init__(self, side):
        super().__init__()
        self.heads = nn.ModuleList(feature_head(width, side // 4 >> scale) for scale, width in enumerate(PROJECTED))
        self.heads.append(pixel_head(side))

    def iterate(self, count=1):
        """One power iteration (or more) of every convolution."""
        for module in self.modules():
            if isinstance(module, SpectralConv):
                module.iterate(count)

    def forward(self, inputs):
        """The logits of the projected maps and the pictures, in that order."""
        return [head(x) for head, x in zip(self.heads, inputs, strict=True)]


class Augmentation:
    """One draw of brightness, saturation, contrast and place for a batch, to apply to photos and fakes alike."""

    def __init__(self, batch, side, color, shift, device):
        self.color = color
        self.draws = torch.rand(3, batch, 1, 1, 1, device=device) - 0.5
        reach = round(side * shift)
        self.shifts = torch.randint(-reach, reach + 1, (batch, 2)).tolist()

    def __call__(self, x):
        brightness, saturation, contrast = self.draws * self.color
        x = x + brightness
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * (1 + 2 * saturation)
        mean = x.mean((1, 2, 3), keepdim=True)
        x = mean + (x - mean) * (1 + contrast)
        # A padding by (d, -d) moves a picture by d and fills with zeros what comes into view.
        return torch.stack([F.pad(picture, (dx, -dx, dy, -dy)) for picture, (dx, dy) in zip(x, self.shifts)])


class Moments(nn.Module):
    """Running mean and variance, per channel and place, of the photos' projected features.

    The loss draws the fakes' moments towards them. It is worth most where adversarial gradients are poor: early, and
    against a fall into few faces.
    """

    WARMUP = 60
    """Batches before the averages are worth following."""

    def __init__(self, maps):
        super().__init__()
        self.maps = len(maps)
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        for index, features in enumerate(maps):
            self.register_buffer(f"mean_{index}", torch.zeros_like(features[0]))
            self.register_buffer(f"variance_{index}", torch.zeros_like(features[0]))

    def scales(self):
        """Mean and variance of each map."""
        return [(getattr(self, f"mean_{i}"), getattr(self, f"variance_{i}")) for i in range(self.maps)]

    @torch.no_grad()
    def update(self, maps):
        """Takes in a batch of photos. The first batches' variance is about their own mean, later ones' about ours."""
        self.count += 1
        weight = max(1 / int(self.count), 0.01)
        for features, (mean, variance) in zip(maps, self.scales()):
            batch = features.mean(0)
            centre = mean if self.count > 20 else batch
            variance.lerp_((features - centre).pow(2).mean(0), weight)
            mean.lerp_(batch, weight)

    def loss(self, maps):
        """How far a batch of fakes is from the averages; an unbiased estimate as to the means."""
        total = 0
        half = len(maps[0]) // 2
        for features, (mean, variance) in zip(maps, self.scales()):
            first, second = features[:half].mean(0), features[half:].mean(0)
            deviation = (features.var(0) + 1e-4).sqrt()
            total = total + ((first - mean) * (second - mean)).mean()
            total = total + (deviation - (variance + 1e-4).sqrt()).pow(2).mean()
        return total
