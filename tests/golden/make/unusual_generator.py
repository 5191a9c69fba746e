"""Generators that are not of 4×4 pixels, three colours and the filter [1, 3, 3, 1], and what they must draw.

    python unusual_generator.py        (torch and numpy)

Writes to ../cases:
- unusual.pt: rosinality's names; constant of 3×5, four channels, odd and uneven filters ([1, 3, 2] in the convolutions, as
  `Generator(blur_kernel=…)` makes them, [1, 5, 3, 2, 1] in the ToRGBs)
- unusual_nvidia.pt: NVIDIA's names; grey, constant of 4×2, one row of 12 taps as `setup_filter` leaves it
and *_expected.npy, their images for ../cases/z.npy: float64, straight from the definition in rosinality's code (zero-stuffing,
padding, filter turned, weights modulated per sample).
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

CASES = Path(__file__).parent.parent / "cases"
Z = torch.from_numpy(np.load(CASES / "z.npy")).double()
D, C, BLOCKS = 16, 8, 2


def upfirdn2d(x, kernel, up, pad):
    n, c, h, w = x.shape
    x = F.pad(x.reshape(n * c, h, 1, w, 1), [0, up - 1, 0, 0, 0, up - 1]).reshape(n * c, 1, h * up, w * up)
    p0, p1 = pad
    x = F.pad(x, [max(p0, 0), max(p1, 0), max(p0, 0), max(p1, 0)])
    x = x[:, :, max(-p0, 0) : x.shape[2] - max(-p1, 0), max(-p0, 0) : x.shape[3] - max(-p1, 0)]
    x = F.conv2d(x, torch.flip(kernel, [0, 1])[None, None])
    return x.reshape(n, c, x.shape[2], x.shape[3])


def style(s, name, w):
    weight, bias = s[f"{name}.conv.modulation.weight"], s[f"{name}.conv.modulation.bias"]
    return F.linear(w, weight / weight.shape[1] ** 0.5, bias)


def conv(s, name, x, w, noise, kernel=None):
    weight = s[f"{name}.conv.weight"]
    n, (_, o, i, k, _) = x.shape[0], weight.shape
    weight = weight / (i * k * k) ** 0.5 * style(s, name, w)[:, None, :, None, None]
    weight = weight * torch.rsqrt(weight.square().sum([2, 3, 4], keepdim=True) + 1e-8)
    out = []
    for one, own in zip(x.split(1), weight):
        if kernel is None:
            out.append(F.conv2d(one, own, padding=1))
            continue
        doubled = F.conv_transpose2d(one, own.transpose(0, 1), stride=2)
        p = (kernel.shape[0] - 2) - (k - 1)
        out.append(upfirdn2d(doubled, kernel, 1, ((p + 1) // 2 + 1, p // 2 + 1)))
    y = torch.cat(out) + s[f"{name}.noise.weight"] * noise
    return F.leaky_relu(y + s[f"{name}.activate.bias"][None, :, None, None], 0.2) * 2**0.5


def rgb(s, name, x, w, before=None, kernel=None):
    weight = s[f"{name}.conv.weight"]
    weight = weight / weight.shape[2] ** 0.5 * style(s, name, w)[:, None, :, None, None]
    y = torch.stack([F.conv2d(one[None], own)[0] for one, own in zip(x, weight)]) + s[f"{name}.bias"]
    if before is not None:
        p = kernel.shape[0] - 2
        y = y + upfirdn2d(before, kernel, 2, ((p + 1) // 2 + 1, p // 2))
    return y


def draw(s):
    x = Z * torch.rsqrt(Z.square().mean(1, keepdim=True) + 1e-8)
    for i in range(1, 4):
        weight, bias = s[f"style.{i}.weight"], s[f"style.{i}.bias"]
        x = F.leaky_relu(F.linear(x, weight * 0.01 / weight.shape[1] ** 0.5, bias * 0.01), 0.2) * 2**0.5
    w = x
    x = s["input.input"].repeat(len(Z), 1, 1, 1)
    x = conv(s, "conv1", x, w, s["noises.noise_0"])
    image = rgb(s, "to_rgb1", x, w)
    for b in range(BLOCKS):
        kernel = s[f"convs.{2 * b}.conv.blur.kernel"]
        x = conv(s, f"convs.{2 * b}", x, w, s[f"noises.noise_{2 * b + 1}"], kernel)
        x = conv(s, f"convs.{2 * b + 1}", x, w, s[f"noises.noise_{2 * b + 2}"])
        image = rgb(s, f"to_rgbs.{b}", x, w, image, s[f"to_rgbs.{b}.upsample.kernel"])
    return image


def plane(taps):
    taps = torch.tensor(taps, dtype=torch.float64)
    taps = taps.outer(taps)
    return taps / taps.sum() * 4


def weights(height, width, channels, blur, upsample):
    s = OrderedDict()
    for i in range(1, 4):
        s[f"style.{i}.weight"] = torch.randn(D, D) * 100
        s[f"style.{i}.bias"] = torch.randn(D) * 10
    s["input.input"] = torch.randn(1, C, height, width)
    for name in ["conv1", *(f"convs.{i}" for i in range(2 * BLOCKS))]:
        s[f"{name}.conv.weight"] = torch.randn(1, C, C, 3, 3)
        s[f"{name}.noise.weight"] = torch.randn(1) * 0.1
        s[f"{name}.activate.bias"] = torch.randn(C) * 0.1
    for b in range(BLOCKS):
        s[f"convs.{2 * b}.conv.blur.kernel"] = blur
        s[f"to_rgbs.{b}.upsample.kernel"] = upsample
    for name in ["to_rgb1", *(f"to_rgbs.{b}" for b in range(BLOCKS))]:
        s[f"{name}.conv.weight"] = torch.randn(1, channels, C, 1, 1)
        s[f"{name}.bias"] = torch.randn(1, channels, 1, 1) * 0.1
    for name in [name[: -len(".weight")] for name in list(s) if name.endswith(".conv.weight")]:
        s[f"{name}.modulation.weight"] = torch.randn(C, D)
        s[f"{name}.modulation.bias"] = torch.ones(C)
    for i in range(2 * BLOCKS + 1):
        side = 1 << ((i + 1) // 2)
        s[f"noises.noise_{i}"] = torch.randn(1, 1, height * side, width * side)
    return OrderedDict((name, t.float()) for name, t in s.items())


def nvidia(s, row):
    """The same under the names of stylegan2-ada-pytorch."""
    out = OrderedDict()
    for i in range(1, 4):
        for leaf in ["weight", "bias"]:
            out[f"mapping.fc{i - 1}.{leaf}"] = s[f"style.{i}.{leaf}"]
    out["synthesis.b4.const"] = s["input.input"][0]
    layers = [("conv1", "b4.conv1", 0), ("convs.0", "b8.conv0", 1), ("convs.1", "b8.conv1", 2)]
    layers += [("convs.2", "b16.conv0", 3), ("convs.3", "b16.conv1", 4)]
    for ours, theirs, i in layers:
        theirs = f"synthesis.{theirs}"
        out[f"{theirs}.weight"] = s[f"{ours}.conv.weight"][0]
        out[f"{theirs}.bias"] = s[f"{ours}.activate.bias"]
        out[f"{theirs}.noise_strength"] = s[f"{ours}.noise.weight"][0]
        out[f"{theirs}.noise_const"] = s[f"noises.noise_{i}"][0, 0]
        out[f"{theirs}.resample_filter"] = row
        for leaf in ["weight", "bias"]:
            out[f"{theirs}.affine.{leaf}"] = s[f"{ours}.conv.modulation.{leaf}"]
    for ours, theirs in [("to_rgb1", "b4"), ("to_rgbs.0", "b8"), ("to_rgbs.1", "b16")]:
        theirs = f"synthesis.{theirs}"
        out[f"{theirs}.resample_filter"] = row
        out[f"{theirs}.torgb.weight"] = s[f"{ours}.conv.weight"][0]
        out[f"{theirs}.torgb.bias"] = s[f"{ours}.bias"].flatten()
        for leaf in ["weight", "bias"]:
            out[f"{theirs}.torgb.affine.{leaf}"] = s[f"{ours}.conv.modulation.{leaf}"]
    return out


def expected(name, s):
    images = draw(OrderedDict((key, t.double()) for key, t in s.items()))
    np.save(CASES / f"{name}_expected.npy", images.float().numpy())
    print(name, tuple(images.shape), float(images.abs().mean()))


torch.manual_seed(14)
unusual = weights(3, 5, 4, plane([1, 3, 2]), plane([1, 5, 3, 2, 1]))
torch.save({"g_ema": unusual}, CASES / "unusual.pt")
expected("unusual", unusual)

# "sym6", which stylegan2-ada-pytorch uses for augmentation, as a filter of the generator.
SYM6 = [0.0154, 0.0035, -0.1180, -0.0483, 0.4911, 0.7876, 0.3379, -0.0726, -0.0211, 0.0447, 0.0018, -0.0078]
row = torch.tensor(SYM6) / sum(SYM6)
grey = weights(4, 2, 1, plane(row.tolist()), plane(row.tolist()))
torch.save(nvidia(grey, row), CASES / "unusual_nvidia.pt")
expected("unusual_nvidia", grey)
