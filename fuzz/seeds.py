"""Makes the small files that the fuzz targets start from: python seeds.py, with torch, numpy and safetensors."""

import io
import pathlib
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import safetensors.torch
import torch

HERE = pathlib.Path(__file__).parent / "seeds"


def put(target, name, data):
    folder = HERE / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def saved(value, **how):
    buffer = io.BytesIO()
    torch.save(value, buffer, **how)
    return buffer.getvalue()


def without_checksums(data):
    """Sets every CRC-32 to 0, in local headers and in the central directory."""
    data = bytearray(data)
    for sign, at in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        place = data.find(sign)
        while place >= 0:
            data[place + at : place + at + 4] = bytes(4)
            place = data.find(sign, place + 4)
    return bytes(data)


def deflated(data):
    """The same members, packed anew as people do."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name.split("/", 1)[1], old.read(name))
    return buffer.getvalue()


def pickle_of(data):

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        return archive.read(name)


def stand_in(module, name, made):
    """Puts a function or class where pickles of NVIDIA's find theirs, and says that it is from there."""
    parts = module.split(".")
    for i in range(len(parts)):
        path = ".".join(parts[: i + 1])
        sys.modules.setdefault(path, types.ModuleType(path))
    made.__module__, made.__qualname__ = module, name
    setattr(sys.modules[module], name, made)
    return made


def _reconstruct_persistent_obj(meta):
    raise NotImplementedError


class Persistent:
    def __init__(self, **state):
        self.meta = {"type": "class", "version": 6, "module_src": "x", "class_name": "G", "state": state}

    def __reduce__(self):
        rebuild = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
        return rebuild, (self.meta,)


class Network:
    def __init__(self, **state):
        self.__dict__.update(state)


def networks():
    """Pickles without torch's file around them."""
    stand_in("torch_utils.persistence", "_reconstruct_persistent_obj", _reconstruct_persistent_obj)
    network = stand_in("dnnlib.tflib.network", "Network", Network)
    w = torch.arange(6.0).reshape(2, 3)
    inner = Persistent(_parameters={"weight": torch.nn.Parameter(w)}, _buffers={"w_avg": w[0]}, _modules={}, z_dim=2)
    outer = Persistent(_parameters={}, _buffers={}, _modules={"mapping": inner}, _init_kwargs={"a": 1}, w_dim=3)
    variables = [("Dense0/weight", w.numpy()), ("lod", np.float32(0))]
    net = network(version=4, name="G", static_kwargs={"a": 1}, components={}, variables=variables)
    arrays = [w.numpy(), np.asfortranarray(w.numpy()), np.float64(1.5), np.empty(0), np.ones(3, "i8")]
    values = {"persistent": {"G_ema": outer}, "tensorflow": (net, net, net), "arrays": {"a": arrays, "s": "x"}}
    for name, value in values.items():
        for protocol in (2, 3, 4, 5):
            put("unpickler", f"{name}_{protocol}", pickle.dumps(value, protocol)[2:])


class Script(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.linear(x)


def main():
    torch.manual_seed(0)
    networks()
    w = torch.arange(6.0).reshape(2, 3)
    values = {
        "dict": {"a": w, "b": {"c": w.half().t(), "n": 3}, "list": [w[0], None, True, "x"]},
        "tensor": w[:, 1:],
        "state": torch.nn.Linear(2, 2).state_dict(),
        "module_like": {"state_dict": {"decoder.x": torch.nn.Parameter(w)}, "opts": {"k": (1, 2.5)}},
        "optimiser": torch.optim.Adam(torch.nn.Linear(2, 1).parameters()).state_dict(),
        "module": torch.nn.DataParallel(torch.nn.Linear(2, 1)),
        "kinds": [torch.zeros(2, dtype=d) for d in (torch.int64, torch.bool, torch.bfloat16)],
    }
    for name, value in values.items():
        data = saved(value)
        put("zip", name, data)
        put("zip", name + "_no_crc", without_checksums(data))
        put("unpickler", name, pickle_of(data))
        # Behind the magic number, which the target adds.
        put("legacy", name, saved(value, _use_new_zipfile_serialization=False)[15:])
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Script()), buffer)
    put("zip", "script_deflated_no_crc", without_checksums(deflated(buffer.getvalue())))
    put("zip", "script_no_crc", without_checksums(buffer.getvalue()))
    put("unpickler", "script", pickle_of(buffer.getvalue()))
    for name, tensors in {
        "two": {"a": w, "b": w.half()},
        "kinds": {str(i): torch.zeros(2, dtype=d) for i, d in enumerate((torch.int64, torch.bool, torch.uint8))},
    }.items():
        data = safetensors.torch.save(tensors, metadata={"format": "pt", "k": "v"})
        put("safetensors", name + "_raw", data)
        (length,) = struct.unpack("<Q", data[:8])
        put("safetensors", name, data[8:])
        assert b"\0" not in data[8 : 8 + length]
    for name, array in {
        "f4": np.ones((2, 3), "<f4"),
        "f8": np.ones(3, "<f8"),
        "fortran": np.asfortranarray(np.ones((2, 3), "<f4")),
        "i8": np.ones(3, "<i8"),
    }.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        put("npy", name, buffer.getvalue()[6:])


main()
