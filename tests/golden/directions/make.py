"""Editing directions in the layouts that people have, very narrow. Needs torch 2.11.0 and numpy.

interfacegan.npy, interfacegan.pt   a unit normal [1, 16]; pose.pt one for every style input [1, 8, 16]
ganspace.pt                         a dictionary as e4e ships it: mean [1, 16], comp [5, 16], std [5]
ganspace_hub.pt                     the same in GANSpace's own shapes: mean [1, 1, 16], comp [5, 1, 16]
"""

from pathlib import Path

import numpy as np
import torch

here = Path(__file__).parent
torch.manual_seed(0)
normal = torch.nn.functional.normalize(torch.randn(1, 16), dim=1)
np.save(here / "interfacegan.npy", normal.numpy())
torch.save(normal, here / "interfacegan.pt")
torch.save(torch.arange(128.0).view(1, 8, 16), here / "pose.pt")
pca = {"mean": torch.randn(1, 16), "comp": torch.randn(5, 16), "std": torch.rand(5)}
torch.save(pca, here / "ganspace.pt")
shapes = {"mean": (1, 1, 16), "comp": (5, 1, 16), "std": (5,)}
torch.save({name: pca[name].reshape(shape) for name, shape in shapes.items()}, here / "ganspace_hub.pt")
