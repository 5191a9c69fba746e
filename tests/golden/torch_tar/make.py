"""The generator of `generator32` as torch before 0.1.10 would have saved it: no torch writes this container any more, so
it is put together from what `torch.load` reads (`torch.serialization`, `legacy_load`), and read back by it.

    python make.py        # torch 2.11.0
"""

import io
import pickle
import struct
import tarfile
from pathlib import Path

import torch

HERE = Path(__file__).parent


class Pickler(pickle.Pickler):
    """Tensors become references by key."""

    keys = {}

    def persistent_id(self, obj):
        return str(self.keys[id(obj)]) if isinstance(obj, torch.Tensor) else None


def main():
    # A part of it is enough.
    whole = torch.load(HERE.parent / "generator32" / "generator.pt", weights_only=True)
    names = ("style.1.weight", "style.1.bias", "conv1.conv.modulation.weight", "input.input", "to_rgb1.bias")
    chosen = {"g_ema": {name: whole["g_ema"][name].clone() for name in names}, "latent_avg": whole["latent_avg"].clone()}
    # One tensor that is a view on another's storage, turned around.
    chosen["turned"] = chosen["g_ema"]["style.1.weight"].t()
    tensors = [*chosen["g_ema"].values(), chosen["latent_avg"], chosen["turned"]]
    storages, listed = io.BytesIO(), io.BytesIO()
    keys = {}
    for tensor in tensors:
        keys.setdefault(tensor.untyped_storage().data_ptr(), 1000 + len(keys))
    pickle.dump(len(keys), storages, 2)
    written = set()
    for tensor in tensors:
        key = keys[tensor.untyped_storage().data_ptr()]
        if key in written:
            continue
        written.add(key)
        flat = torch.empty(0).set_(tensor.untyped_storage())
        pickle.dump((key, "cpu", torch.FloatStorage), storages, 2)
        storages.write(struct.pack("<q", flat.numel()) + flat.numpy().tobytes())
    root = keys[chosen["latent_avg"].untyped_storage().data_ptr()]
    # A key of its own for a part: three numbers of the mean latent, from the third on.
    pickle.dump([(5000, root, 2, 3)], storages, 2)
    part = torch.empty(3)
    chosen["part"] = part
    pickle.dump(len(tensors) + 1, listed, 2)
    for number, tensor in enumerate([*tensors, part]):
        Pickler.keys[id(tensor)] = number
        storage = 5000 if tensor is part else keys[tensor.untyped_storage().data_ptr()]
        pickle.dump((number, storage, torch.FloatTensor), listed, 2)
        rank = tensor.dim()
        listed.write(struct.pack("<i", rank) + b"\0" * 4)
        listed.write(struct.pack(f"<{2 * rank + 1}q", *tensor.shape, *tensor.stride(), tensor.storage_offset()))
    top = io.BytesIO()
    Pickler(top, 2).dump(chosen)
    system = io.BytesIO()
    pickle.dump({"protocol_version": 1000, "little_endian": True}, system, 2)
    with tarfile.open(HERE / "part.pt", "w:", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (("sys_info", system), ("pickle", top), ("tensors", listed), ("storages", storages)):
            info = tarfile.TarInfo(name)
            info.size = data.tell()
            data.seek(0)
            tar.addfile(info, data)
    read = torch.load(HERE / "part.pt", weights_only=False)
    assert torch.equal(read["turned"], chosen["turned"]) and torch.equal(read["part"], chosen["latent_avg"][2:5])
    assert all(torch.equal(read["g_ema"][name], chosen["g_ema"][name]) for name in names)


main()
