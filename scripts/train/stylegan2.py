"""StyleGAN2's generator with the tensor names of rosinality/stylegan2-pytorch.

The state dict has the names and shapes of that repository, so its checkpoints load here and ours load there. The
arithmetic is arranged for a CPU: channels-last throughout, the modulation applied to the activations instead of to
one weight per sample, and, on request, bfloat16 in the widest blocks.
"""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

GAIN = math.sqrt(2)
"""What a leaky ReLU's output is multiplied by to keep its input's variance."""

KERNELS = ("blur.kernel", "upsample.kernel")
"""Ends of the names of the constant filters, which files may leave out."""


def filter_kernel():
    """The 4 x 4 binomial filter of an upsampling by two, whose sum is four."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(row, row)
    return 4 * kernel / kernel.sum()


def activate(x):
    """The scaled leaky ReLU."""
    return F.leaky_relu(x, 0.2) * GAIN


class Kernel(nn.Module):
    """A constant filter under the name the original gives it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kernel", filter_kernel())


class PixelNorm(nn.Module):
    """Scales each vector to a root mean square of one."""

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-8)


class EqualLinear(nn.Module):
    """A linear layer whose weights are stored with unit variance and scaled when used."""

    def __init__(self, inputs, outputs, bias=0.0, rate=1.0, activation=False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.scale = rate / math.sqrt(inputs)
        self.rate = rate
        self.activation = activation

    def forward(self, x):
        x = F.linear(x, self.weight * self.scale, self.bias * self.rate)
        return activate(x) if self.activation else x


class ModulatedConv(nn.Module):
    """A convolution whose input channels a style scales.

    Returns the output before demodulation, and the factors that demodulate it (none without `demodulate`), so that
    the caller can merge them with its bias in one pass over the activations.
    """

    def __init__(self, inputs, outputs, size, style_dim, upsample=False, demodulate=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, size, size))
        self.modulation = EqualLinear(style_dim, inputs, bias=1.0)
        self.scale = 1 / math.sqrt(inputs * size * size)
        self.demodulate = demodulate
        self.blur = Kernel() if upsample else None

    def forward(self, x, w):
        style = self.modulation(w)
        weight = self.weight[0] * self.scale
        factors = None
        if self.demodulate:
            power = style.pow(2) @ weight.pow(2).sum((2, 3)).t()
            factors = torch.rsqrt(power + 1e-8)[:, :, None, None]
        x = x * style[:, :, None, None].to(x.dtype)
        weight = weight.to(x.dtype)
        if self.blur is None:
            return F.conv2d(x, weight, padding=weight.shape[-1] // 2), factors
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        channels = x.shape[1]
        kernel = self.blur.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        return F.conv2d(x, kernel, padding=1, groups=channels), factors


class NoiseStrength(nn.Module):
    """The learned strength of a layer's noise."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Bias(nn.Module):
    """The bias of an activation."""

    def __init__(self, channels):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class StyledConv(nn.Module):
    """A modulated convolution, noise, bias and the activation."""

    def __init__(self, inputs, outputs, style_dim, upsample=False):
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, style_dim, upsample)
        self.noise = NoiseStrength()
        self.activate = Bias(outputs)

    def forward(self, x, w, noise=None):
        x, factors = self.conv(x, w)
        batch, channels, height, width = x.shape
        if noise is None:
            noise = torch.randn(batch, 1, height, width, device=x.device)
        # A leaky ReLU commutes with a positive factor, so the gain goes where the tensors are small. The noise is
        # spread over the channels by a convolution because broadcasting along them is several times slower.
        strength = (self.noise.weight * GAIN).to(x.dtype).expand(channels, 1, 1, 1)
        offset = F.conv2d(noise.to(x.dtype), strength, (self.activate.bias * GAIN).to(x.dtype))
        return F.leaky_relu(torch.addcmul(offset, x, (factors * GAIN).to(x.dtype)), 0.2)


class ToRGB(nn.Module):
    """A layer's contribution to the picture, added to the enlarged sum of those before it."""

    def __init__(self, inputs, style_dim, upsample=True):
        super().__init__()
        self.upsample = Kernel() if upsample else None
        self.conv = ModulatedConv(inputs, 3, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x, w, skip=None):
        # Three output channels are too few for a convolution to be fast: a matrix product per sample is several
        # times faster, and takes the modulation along.
        batch, channels, height, width = x.shape
        weight = self.conv.weight[0, :, :, 0, 0] * self.conv.scale * self.conv.modulation(w)[:, None]
        pixels = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        picture = (weight.to(x.dtype) @ pixels.transpose(1, 2)).float()
        picture = picture.view(batch, 3, height, width) + self.bias
        if skip is None:
            return picture
        planes = skip.reshape(batch * 3, 1, height // 2, width // 2)
        planes = F.conv_transpose2d(planes, self.upsample.kernel[None, None], stride=2, padding=1)
        return picture + planes.view(batch, 3, height, width)


class Constant(nn.Module):
    """The learned input of the first layer."""

    def __init__(self, channels):
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))


class Generator(nn.Module):
    """StyleGAN2's generator.

    `channels` maps each resolution from 4 on, by powers of two, to its width; the largest is the picture's side.
    """

    def __init__(self, channels, style_dim=128, layers=8):
        super().__init__()
        self.channels = dict(channels)
        self.style_dim = style_dim
        self.size = max(channels)
        self.bfloat16_from = None
        """Resolution from which the convolutions run in bfloat16, where the processor is faster at it."""
        mapping = [EqualLinear(style_dim, style_dim, rate=0.01, activation=True) for _ in range(layers)]
        self.style = nn.Sequential(PixelNorm(), *mapping)
        width = channels[4]
        self.input = Constant(width)
        self.conv1 = StyledConv(width, width, style_dim)
        self.to_rgb1 = ToRGB(width, style_dim, upsample=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        self.noises = nn.Module()
        self.noises.register_buffer("noise_0", torch.randn(1, 1, 4, 4))
        resolutions = [size for size in sorted(channels) if size > 4]
        for index, size in enumerate(resolutions):
            outputs = channels[size]
            self.convs.append(StyledConv(width, outputs, style_dim, upsample=True))
            self.convs.append(StyledConv(outputs, outputs, style_dim))
            self.to_rgbs.append(ToRGB(outputs, style_dim))
            for layer in (2 * index + 1, 2 * index + 2):
                self.noises.register_buffer(f"noise_{layer}", torch.randn(1, 1, size, size))
            width = outputs
        self.rows = 2 * len(resolutions) + 2
        """Number of style inputs of the synthesis."""

    def fixed_noise(self):
        """The stored noise of every layer."""
        return [getattr(self.noises, f"noise_{layer}") for layer in range(self.rows - 1)]

    def synthesis(self, ws, noise=None):
        """Pictures in [-1, 1] (by training, not by clamping) of style rows (batch, rows, style_dim)."""
        noise = noise or [None] * (self.rows - 1)
        x = self.input.input.expand(len(ws), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        x = self.conv1(x, ws[:, 0], noise[0])
        picture = self.to_rgb1(x, ws[:, 1])
        for block, to_rgb in enumerate(self.to_rgbs):
            row = 2 * block + 1
            if self.bfloat16_from and 2 * x.shape[-1] >= self.bfloat16_from:
                x = x.bfloat16()
            x = self.convs[2 * block](x, ws[:, row], noise[row])
            x = self.convs[2 * block + 1](x, ws[:, row + 1], noise[row + 1])
            picture = to_rgb(x, ws[:, row + 2], picture)
        return picture

    def forward(self, z, psi=1.0, mean=None, noise=None):
        """Pictures of latent vectors, their styles drawn towards `mean` by `psi`."""
        w = self.style(z)
        if psi != 1.0:
            w = mean + psi * (w - mean)
        return self.synthesis(w[:, None].expand(-1, self.rows, -1), noise)

    @torch.no_grad()
    def mean_style(self, count=8192, seed=7):
        """The mean style of `count` latent vectors: `latent_avg`."""
        z = torch.randn(count, self.style_dim, generator=torch.Generator().manual_seed(seed))
        return self.style(z.to(self.input.input.device)).mean(0)

    @torch.no_grad()
    def start_from(self, tensors):
        """Takes over a generator of the same layout and at most this resolution.

        The blocks it lacks keep their random weights, but add almost nothing to the picture at first.
        """
        own = self.state_dict()
        unknown = [name for name in tensors if name not in own and name != "latent_avg"]
        if unknown:
            raise ValueError(f"not a generator of this layout: {unknown[0]}")
        for name, tensor in tensors.items():
            if name == "latent_avg":
                continue
            if own[name].shape != tensor.shape:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, here {tuple(own[name].shape)}")
            own[name].copy_(tensor)
        for index, to_rgb in enumerate(self.to_rgbs):
            if f"to_rgbs.{index}.conv.weight" not in tensors:
                to_rgb.conv.weight.mul_(0.02)


def read_generator(path):
    """A generator's tensors: a .safetensors file, or a .pt file of rosinality's layout."""
    if str(path).endswith(".safetensors"):
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    return torch.load(path, map_location="cpu", weights_only=False)["g_ema"]


def load_generator(path):
    """A generator and its mean style from a file of any sizes."""
    tensors = read_generator(path)
    channels = {4: tensors["input.input"].shape[1]}
    while f"convs.{2 * len(channels) - 2}.conv.weight" in tensors:
        channels[4 << len(channels)] = tensors[f"convs.{2 * len(channels) - 2}.conv.weight"].shape[1]
    layers = sum(name.startswith("style.") and name.endswith(".weight") for name in tensors)
    generator = Generator(channels, tensors["style.1.weight"].shape[1], layers)
    generator.start_from(tensors)
    mean = tensors.get("latent_avg")
    return generator, generator.mean_style() if mean is None else mean
