"""Makes the fixture: LPIPS's own code (pip: lpips 0.1.4, torchvision 0.26) with narrow random backbones.

    python make.py FOLDER_WITH_THE_UNPACKED_WHEEL
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

sys.path.insert(0, sys.argv[1])
import lpips  # noqa: E402

HERE = Path(__file__).parent


def narrowed(model, factor):
    """Every convolution with fewer channels, of random weights."""
    for stage in (model.net.slice1, model.net.slice2, model.net.slice3, model.net.slice4, model.net.slice5):
        for name, layer in list(stage._modules.items()):
            if isinstance(layer, nn.Conv2d):
                inputs = 3 if layer.in_channels == 3 else layer.in_channels // factor
                shape = dict(kernel_size=layer.kernel_size, stride=layer.stride, padding=layer.padding)
                stage._modules[name] = nn.Conv2d(inputs, layer.out_channels // factor, **shape)
            elif isinstance(layer, nn.ReLU):
                stage._modules[name] = nn.ReLU(inplace=False)
    for i, lin in enumerate(model.lins):
        conv = nn.Conv2d(model.chns[i] // factor, 1, 1, bias=False)
        conv.weight.data.uniform_(0, 1)
        lin.model[-1] = conv
    return model


for net, factor in (("alex", 32), ("vgg", 32)):
    torch.manual_seed(7)
    model = narrowed(lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False), factor).eval()
    state = model.state_dict()
    a, b = torch.rand(2, 3, 48, 48) * 2 - 1, torch.rand(2, 3, 48, 48) * 2 - 1
    with torch.no_grad():
        distance = model.double()(a.double(), b.double()).flatten()
    tensors = {name: tensor.float().contiguous() for name, tensor in state.items() if not name.startswith("lins.")}
    save_file(tensors, HERE / f"{net}.safetensors")
    save_file({"a": a, "b": b, "distance.f64": distance}, HERE / f"{net}_io.safetensors")
    print(net, distance)
