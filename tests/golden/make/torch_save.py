"""Writes the 16 px generator of ../cases in the ways in which `torch.save` is used: pickle protocols, whole modules.

    pip install torch==2.11.0
    python torch_save.py

Every file is right when it gives ../cases/expected_images.npy.

legacy_protocol1.pt, legacy_protocol4.pt, legacy_protocol5.pt   the container before torch 1.6, each protocol with its own start
zip_protocol1.pt, zip_protocol5.pt   the container since
module_*.pt   the module itself: alone in a legacy file (which keeps the source of each class), as `DataParallel` in a
    dictionary of protocol 1, and with what else modules hold: slots, attributes of tensors, buffers that are not persistent
"""

import sys
from collections import OrderedDict
from pathlib import Path

import torch

from torchscript import Node, tree

CASES = Path(__file__).parent.parent / "cases"


class Generator(Node):
    """As the classes of people are: with settings, and with things that no state dictionary has."""

    def __init__(self):
        super().__init__()
        self.size, self.channels = 16, {4: 8, 8: 8, 16: 8}
        self.register_buffer("fixed_z", torch.zeros(2, 16), persistent=False)


class Slotted(Generator):
    __slots__ = ("note",)


def main():
    weights = torch.load(CASES / "plain_generator.pt", weights_only=True)
    legacy = {"_use_new_zipfile_serialization": False}
    for protocol in (1, 4, 5):
        torch.save(weights, CASES / f"legacy_protocol{protocol}.pt", pickle_protocol=protocol, **legacy)
    for protocol in (1, 5):
        torch.save(weights, CASES / f"zip_protocol{protocol}.pt", pickle_protocol=protocol)

    names = weights["g_ema"] if "g_ema" in weights else weights
    # Only the outermost has the settings.
    module = tree(names, lambda path: Node() if path else Slotted())
    assert set(module.state_dict()) == set(names)
    torch.save(module, CASES / "module_legacy.pt", **legacy)
    torch.save(module, CASES / "module_legacy_protocol4.pt", pickle_protocol=4, **legacy)
    parallel = OrderedDict(step=3, g_ema=torch.nn.DataParallel(module))
    torch.save(parallel, CASES / "module_parallel_protocol1.pt", pickle_protocol=1)
    module.note = "a slot"
    for parameter in list(module.parameters())[:2]:
        parameter.mark = "an attribute"
    module.style = torch.nn.Sequential(OrderedDict(module.style.named_children()))
    torch.save({"model": module}, CASES / "module_attributes.pt")
    for path in sorted(CASES.glob("*.pt")):
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    sys.modules["torch_save"] = sys.modules["__main__"]
    main()
