"""Where a generator's styles lie, so that codes can be kept among them.

Behind the mapping network's last leaky ReLU styles are skewed; before it they are close to a Gaussian (Zhu et al.,
"Improved StyleGAN Embedding", 2020). Codes that leave it still make a photo, but stop to mean what they mean
elsewhere: they cannot be edited, and fall apart in adapted generators.
"""

import torch
import torch.nn.functional as F
from torch import nn

FLOOR = 0.01
"""Variances below this share of the largest count as so much: no direction of the space is a wall."""


def before_activation(styles):
    """Undoes the leaky ReLU (slope 0.2) behind the mapping network; its gain is left in."""
    return F.leaky_relu(styles, 5.0)


class StyleSpace(nn.Module):
    """The Gaussian that a generator's styles make before their activation, and their deviation behind it."""

    def __init__(self, generator, count=20_000):
        super().__init__()
        with torch.no_grad():
            z = torch.randn(count, generator.style_dim, generator=torch.Generator().manual_seed(3))
            styles = generator.style(z.to(generator.input.input.device))
            flat = before_activation(styles).double()
            values, vectors = torch.linalg.eigh(torch.cov(flat.t()))
            whiten = vectors / values.clamp(min=FLOOR * float(values[-1])).sqrt()
        self.register_buffer("deviation", styles.std(0))
        self.register_buffer("mean", flat.mean(0).float())
        self.register_buffer("whiten", whiten.float())
        self.usual = float(self.squares(styles).mean())

    def squares(self, styles):
        """Mean square of each style's whitened coordinates."""
        return ((before_activation(styles) - self.mean) @ self.whiten).pow(2).mean(-1)

    def distance(self, styles):
        """How far styles lie from the middle: 1 is as far as those of the generator's own samples, on average."""
        return self.squares(styles) / self.usual
