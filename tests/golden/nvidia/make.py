"""Small network pickles in every layout that NVIDIA's code writes, and what they must draw.

    python make.py        (torch, numpy and safetensors; no code of NVIDIA's)

The weights are those of ../generator32 (rosinality's names), taken back into NVIDIA's layouts, so that a reader that
is right gives that generator's tensors to the bit. The globals that such pickles name (`torch_utils.persistence`,
`dnnlib`) are empty stand-ins made here. What generator32 does not have (classes, clamping) is drawn by the reference
at the end, which is written out straight from the definition, in float64.

Two runs give the same numbers but not the same bytes: torch calls storages by their addresses.
"""

import io
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
GOLDEN = load_file(HERE.parent / "generator32" / "generator.safetensors")
IO = load_file(HERE.parent / "generator32" / "io.safetensors")
RESOLUTIONS = [4, 8, 16, 32]
SOURCE = "import os\nos.system('touch /tmp/nada-ran-a-pickle')\nclass Generator: pass\n"


# ------------------------------------------------------------------ stand-ins for the classes that pickles name


def module(name, **members):
    made = types.ModuleType(name)
    for key, value in members.items():
        setattr(made, key, value)
        value.__module__ = name
        value.__qualname__ = key
    sys.modules[name] = made


class EasyDict(dict):
    """A dictionary of a class of its own, as in NVIDIA's helpers."""


def _reconstruct_persistent_obj(meta):
    raise AssertionError("only its name is needed")


class Network:
    """A TensorFlow network: nothing but a state."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return new_network, (Network,), self.state


def new_network(cls):
    raise AssertionError("only its name is needed")


class Persistent:
    """What pickles like a module of `torch_utils.persistence`."""

    def __init__(self, name, state):
        self.name, self.state = name, state

    def __reduce__(self):
        meta = dict(type="class", version=6, module_src=SOURCE, class_name=self.name, state=self.state)
        return _reconstruct_persistent_obj, (meta,)


module("dnnlib")
module("dnnlib.util", EasyDict=EasyDict)
module("dnnlib.tflib")
module("dnnlib.tflib.network", Network=Network)
module("torch_utils")
module("torch_utils.persistence", _reconstruct_persistent_obj=_reconstruct_persistent_obj)
# TensorFlow networks are made by the class itself, as pickle makes any plain object.
Network.__reduce__ = lambda self: (__import__("copyreg").__newobj__, (Network,), self.state)


# ------------------------------------------------------------------ PyTorch: modules


def make(name, parameters=(), buffers=(), modules=(), **attributes):
    """A module with the private members that torch gives every module."""
    return Persistent(name, {
        "training": False,
        "_parameters": OrderedDict((k, None if v is None else torch.nn.Parameter(v)) for k, v in parameters),
        "_buffers": OrderedDict(buffers),
        "_non_persistent_buffers_set": set(),
        "_modules": OrderedDict(modules),
        "_init_args": (),
        **attributes,
    })


def dense(weight, bias, gain=1.0, activation="linear"):
    return make(
        "FullyConnectedLayer", [("weight", weight), ("bias", bias)], activation=activation,
        weight_gain=np.float64(gain) / np.sqrt(weight.shape[1]), bias_gain=gain,
    )


def layer(w, name, noise, up, clamp, filter_):
    affine = dense(w[f"{name}.conv.modulation.weight"], w[f"{name}.conv.modulation.bias"])
    return make(
        "SynthesisLayer",
        [("weight", w[f"{name}.conv.weight"][0]),
         ("noise_strength", w[f"{name}.noise.weight"][0]),
         ("bias", w[f"{name}.activate.bias"])],
        [("resample_filter", filter_), ("noise_const", w[f"noises.noise_{noise}"][0, 0])],
        [("affine", affine)],
        up=up, use_noise=True, activation="lrelu", conv_clamp=clamp, padding=1, act_gain=np.sqrt(2),
    )


def to_rgb(w, name, clamp):
    affine = dense(w[f"{name}.conv.modulation.weight"], w[f"{name}.conv.modulation.bias"])
    weight = w[f"{name}.conv.weight"][0]
    return make(
        "ToRGBLayer", [("weight", weight), ("bias", w[f"{name}.bias"].flatten())], [], [("affine", affine)],
        conv_clamp=clamp, weight_gain=1 / np.sqrt(weight.shape[1]),
    )


def mapping(w, classes=0):
    layers = sum(f"style.{i}.weight" in w for i in range(1, 99))
    modules = []
    if classes:
        modules.append(("embed", dense(w["embed.weight"], w["embed.bias"])))
    for i in range(layers):
        fc = dense(w[f"style.{i + 1}.weight"], w[f"style.{i + 1}.bias"], 0.01, "lrelu")
        modules.append((f"fc{i}", fc))
    width = w[f"style.{layers}.bias"].shape[0]
    embedded = w["embed.bias"].shape[0] if classes else 0
    return make(
        "MappingNetwork", [], [("w_avg", w["latent_avg"])], modules,
        z_dim=w["style.1.weight"].shape[1] - embedded, c_dim=classes, w_dim=width, num_layers=layers,
        w_avg_beta=0.995,
    )


def generator(w, classes=0, clamp=None, flat=False, architecture="skip"):
    filter_ = w["convs.0.conv.blur.kernel"] / 4
    blocks = []
    for i, r in enumerate(RESOLUTIONS):
        parts = []
        if i > 0:
            parts.append(("conv0", layer(w, f"convs.{2 * i - 2}", 2 * i - 1, 2, clamp, filter_)))
        second = f"convs.{2 * i - 1}" if i > 0 else "conv1"
        parts.append(("conv1", layer(w, second, 2 * i, 1, clamp, filter_)))
        parts.append(("torgb", to_rgb(w, f"to_rgbs.{i - 1}" if i > 0 else "to_rgb1", clamp)))
        const = [("const", w["input.input"][0])] if i == 0 else []
        block = make(
            "SynthesisBlock", const, [("resample_filter", filter_)], parts,
            in_channels=0 if i == 0 else 16, resolution=r, img_channels=3, is_last=r == 32,
            architecture=architecture, use_fp16=False, num_conv=len(parts) - 1, num_torgb=1,
        )
        blocks.append((f"b{r}", block))
    synthesis = make(
        "SynthesisNetwork", [], [], blocks, img_resolution=32, img_channels=3, num_ws=8,
        block_resolutions=RESOLUTIONS,
    )
    network = mapping(w, classes)
    settings = EasyDict(channel_base=256, channel_max=16, num_fp16_res=0, conv_clamp=clamp)
    arguments = EasyDict(settings) if flat else EasyDict(synthesis_kwargs=settings)
    arguments.update(z_dim=network.state["z_dim"], c_dim=classes, img_resolution=32, img_channels=3)
    return make(
        "Generator", [], [], [("synthesis", synthesis), ("mapping", network)], _init_kwargs=arguments,
        z_dim=network.state["z_dim"], c_dim=classes, w_dim=network.state["w_dim"], img_resolution=32,
        img_channels=3, num_ws=8,
    )


def discriminator():
    conv = lambda name, o, i, k: (name, make("Conv2dLayer", [("weight", noise(o, i, k, k)), ("bias", noise(o))]))
    out = dense(noise(1, 4), noise(1))
    epilogue = make("DiscriminatorEpilogue", [], [], [conv("conv", 4, 5, 3), ("fc", dense(noise(4, 64), noise(4))), ("out", out)])
    block = make("DiscriminatorBlock", [], [], [conv("fromrgb", 4, 3, 1), conv("conv0", 4, 4, 3)])
    return make("Discriminator", [], [], [("b32", block), ("b4", epilogue)], c_dim=0, img_resolution=32)


def snapshot(g_ema, g=None, **more):
    return {"G": g or g_ema, "D": discriminator(), "G_ema": g_ema, "training_set_kwargs": EasyDict(path="x.zip"), **more}


# ------------------------------------------------------------------ TensorFlow: a flat list of variables


def variables(w):
    """Under TensorFlow's names, outputs last, transposed convolutions turned, modulation around 0."""
    numpy = {name: tensor.numpy() for name, tensor in w.items()}
    of_mapping, of_synthesis = [], []

    def conv(ours, theirs, turned=False):
        weight = numpy[f"{ours}.conv.weight"][0]
        weight = weight[:, :, ::-1, ::-1] if turned else weight
        of_synthesis.append((f"{theirs}/weight", np.ascontiguousarray(weight.transpose(2, 3, 1, 0))))
        of_synthesis.append((f"{theirs}/mod_weight", np.ascontiguousarray(numpy[f"{ours}.conv.modulation.weight"].T)))
        bias = numpy[f"{ours}.conv.modulation.bias"] - np.float32(1)
        assert np.array_equal(bias + np.float32(1), numpy[f"{ours}.conv.modulation.bias"]), ours
        of_synthesis.append((f"{theirs}/mod_bias", bias))
        if f"{ours}.noise.weight" in numpy:
            # A variable of no dimensions is read out of TensorFlow as a number, not as an array.
            of_synthesis.append((f"{theirs}/noise_strength", numpy[f"{ours}.noise.weight"][0]))
            of_synthesis.append((f"{theirs}/bias", numpy[f"{ours}.activate.bias"]))
        else:
            of_synthesis.append((f"{theirs}/bias", numpy[f"{ours}.bias"].reshape(-1)))

    for i in range(sum(f"style.{i}.weight" in w for i in range(1, 99))):
        of_mapping.append((f"Dense{i}/weight", np.ascontiguousarray(numpy[f"style.{i + 1}.weight"].T)))
        of_mapping.append((f"Dense{i}/bias", numpy[f"style.{i + 1}.bias"]))
    of_synthesis.append(("4x4/Const/const", numpy["input.input"]))
    conv("conv1", "4x4/Conv")
    conv("to_rgb1", "4x4/ToRGB")
    for i, r in enumerate(RESOLUTIONS[1:]):
        conv(f"convs.{2 * i}", f"{r}x{r}/Conv0_up", turned=True)
        conv(f"convs.{2 * i + 1}", f"{r}x{r}/Conv1")
        conv(f"to_rgbs.{i}", f"{r}x{r}/ToRGB")
    for i in range(7):
        if f"noises.noise_{i}" in numpy:
            of_synthesis.append((f"noise{i}", numpy[f"noises.noise_{i}"]))
    top = [("lod", np.float32(0))]
    if "latent_avg" in numpy:
        top.append(("dlatent_avg", numpy["latent_avg"]))
    return top, of_mapping, of_synthesis


def tensorflow_network(name, function, own, components=(), version=4, **settings):
    return Network({
        "version": version, "name": name, "static_kwargs": EasyDict(settings), "components": EasyDict(components),
        "build_module_src": SOURCE, "build_func_name": function, "variables": own,
    })


def tensorflow(w, version=4, **settings):
    top, of_mapping, of_synthesis = variables(w)
    parts = {
        "mapping": tensorflow_network("mapping", "G_mapping", of_mapping, version=version),
        "synthesis": tensorflow_network("synthesis", "G_synthesis_stylegan2", of_synthesis, version=version),
    }
    settings = {"resolution": 32, "num_channels": 3, "latent_size": 32, "dlatent_size": 32, "fmap_base": 128, "fmap_max": 16,
                "mapping_layers": 4, "architecture": "skip", "resample_kernel": [1, 3, 3, 1], **settings}
    gs = tensorflow_network("Gs", "G_main", top, parts, version, **settings)
    d_own = [("4x4/Conv/weight", noise(3, 3, 5, 4).numpy()), ("4x4/Dense0/weight", noise(64, 4).numpy()), ("Output/weight", noise(4, 1).numpy())]
    d = tensorflow_network("D", "D_stylegan2", d_own, version=version, resolution=32)
    g = tensorflow_network("G", "G_main", [("lod", np.float32(0))], version=version)
    return (g, d, gs)


# ------------------------------------------------------------------ the reference, in float64


def pixel_norm(x):
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def map_z(w, z, embedded=None):
    x = pixel_norm(z)
    if embedded is not None:
        x = torch.cat([x, pixel_norm(embedded).expand(len(z), -1)], 1)
    i = 1
    while f"style.{i}.weight" in w:
        weight, bias = w[f"style.{i}.weight"] * 0.01 / w[f"style.{i}.weight"].shape[1] ** 0.5, w[f"style.{i}.bias"] * 0.01
        x = F.leaky_relu(x @ weight.T + bias, 0.2) * 2 ** 0.5
        i += 1
    return x


def modulated(w, name, x, style, up, demodulate):
    weight = w[f"{name}.conv.weight"][0]
    code = style @ (w[f"{name}.conv.modulation.weight"] / style.shape[1] ** 0.5).T + w[f"{name}.conv.modulation.bias"]
    scaled = weight / weight[0].numel() ** 0.5
    out = []
    for one, s in zip(x, code):
        k = scaled * s[None, :, None, None]
        if demodulate:
            k = k / (k.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            # Zeros between the samples, then a true convolution (the kernel turned), then the filter with gain 4.
            y = F.conv_transpose2d(one[None], k.transpose(0, 1), stride=2)
            f = (w["convs.0.conv.blur.kernel"]).expand(y.shape[1], 1, 4, 4)
            y = F.conv2d(F.pad(y, [1, 1, 1, 1]), f, groups=y.shape[1])
        else:
            y = F.conv2d(one[None], k, padding=k.shape[2] // 2)
        out.append(y)
    return torch.cat(out)


def draw(w, style, clamp=None):
    w = {name: tensor.double() for name, tensor in w.items()}
    bound = (lambda x: x.clamp(-clamp, clamp)) if clamp else (lambda x: x)
    x, image, i = w["input.input"].expand(len(style), -1, -1, -1), None, 0

    def conv(name, x, up):
        nonlocal i
        y = modulated(w, name, x, style, up, True)
        y = y + w[f"noises.noise_{i}"] * w[f"{name}.noise.weight"] + w[f"{name}.activate.bias"][None, :, None, None]
        i += 1
        return bound(F.leaky_relu(y, 0.2) * 2 ** 0.5)

    def rgb(name, x, image):
        y = bound(modulated(w, name, x, style, False, False) + w[f"{name}.bias"])
        if image is None:
            return y
        n, c, h, _ = image.shape
        stuffed = torch.zeros(n, c, 2 * h, 2 * h, dtype=image.dtype)
        stuffed[:, :, ::2, ::2] = image
        f = w["convs.0.conv.blur.kernel"].expand(3, 1, 4, 4)
        return F.conv2d(F.pad(stuffed, [2, 1, 2, 1]), f, groups=3) + y

    x = conv("conv1", x, False)
    image = rgb("to_rgb1", x, None)
    for b in range(3):
        x = conv(f"convs.{2 * b}", x, True)
        x = conv(f"convs.{2 * b + 1}", x, False)
        image = rgb(f"to_rgbs.{b}", x, image)
    return image


# ------------------------------------------------------------------ the files

torch.manual_seed(4)
noise = torch.randn


def plain(tensors):
    return {name: tensor.clone() for name, tensor in tensors.items()}


def write(name, value, protocol=4):
    data = pickle.dumps(value, protocol=protocol)
    (HERE / name).write_bytes(data)
    print(f"{name:28} {len(data):8}")


def main():
    w, z = plain(GOLDEN), IO["z"]
    expected = {"z": z}
    # The reference is right where generator32 says what is right.
    double = {name: tensor.double() for name, tensor in w.items()}
    mine = draw(w, map_z(double, z.double()))
    assert (mine - IO["image.f64"]).abs().max() < 1e-9, (mine - IO["image.f64"]).abs().max()

    # stylegan2-ada-pytorch with a deep mapping network: layers 5 to 8 repeat 1 to 4. G's weights are others.
    deep = plain(w)
    for i in range(1, 5):
        deep[f"style.{i + 4}.weight"], deep[f"style.{i + 4}.bias"] = w[f"style.{i}.weight"], w[f"style.{i}.bias"]
    write("ada_8_layers.pkl", snapshot(generator(deep)))

    # `--cfg=auto`: 2 layers; protocol 3, as Python 3.7 writes.
    shallow = {name: t for name, t in w.items() if not name.startswith(("style.3.", "style.4."))}
    write("ada_2_layers.pkl", snapshot(generator(shallow)), protocol=3)

    # z narrower than w, and wide layers between.
    wide = {name: t for name, t in w.items() if not name.startswith("style.")}
    for i, (o, n) in enumerate([(48, 20), (48, 48), (32, 48)]):
        wide[f"style.{i + 1}.weight"], wide[f"style.{i + 1}.bias"] = noise(o, n) * 100, noise(o) * 10
    write("ada_widths.pkl", snapshot(generator(wide)))
    expected["z_widths"] = noise(2, 20)
    expected["image_widths"] = draw(wide, map_z({k: v.double() for k, v in wide.items()}, expected["z_widths"].double()))

    # Three classes.
    classes = plain(w)
    classes["embed.weight"], classes["embed.bias"] = noise(24, 3), noise(24)
    classes["style.1.weight"] = torch.cat([w["style.1.weight"], noise(32, 24) * 100], 1)
    write("ada_classes.pkl", snapshot(generator(classes, classes=3)))
    double = {k: v.double() for k, v in classes.items()}
    for c in range(3):
        one_hot = F.one_hot(torch.tensor([c]), 3).double()
        embedded = one_hot @ (double["embed.weight"] / 3 ** 0.5).T + double["embed.bias"]
        expected[f"image_class_{c}"] = draw(classes, map_z(double, z.double(), embedded))

    # The stylegan3 repository: arguments flat, outputs clamped. So low that it shows.
    write("sg3_clamp.pkl", snapshot(generator(w, clamp=0.75, flat=True), augment_pipe=None))
    style = map_z({k: v.double() for k, v in w.items()}, z.double())
    expected["image_clamp"] = draw(w, style, clamp=0.75)
    assert (expected["image_clamp"] - IO["image.f64"]).abs().max() > 0.1

    # A real StyleGAN3 generator's names.
    part = make("SynthesisLayer", [("weight", noise(4, 4, 3, 3))], [], [("affine", dense(noise(4, 8), noise(4)))])
    synthesis = make("SynthesisNetwork", [], [], [
        ("input", make("SynthesisInput", [("weight", noise(4, 4))], [("freqs", noise(4, 2))])),
        ("L0_36_4", part), ("L14_32_3", part)])
    sg3 = make("Generator", [], [], [("synthesis", synthesis), ("mapping", mapping(shallow))], img_resolution=32)
    write("stylegan3.pkl", snapshot(sg3))

    # TensorFlow: as its code writes (protocol 4); with all arrays as texts in Fortran order (protocol 2); without the
    # noise maps and the average; from before StyleGAN2.
    write("tensorflow.pkl", tensorflow(w))
    turned = {name: t for name, t in w.items()}
    triple = tensorflow(turned, conv_clamp=None)
    for part in triple[2].state["components"].values():
        part.state["variables"] = [(n, np.asfortranarray(v) if np.ndim(v) else v) for n, v in part.state["variables"]]
    write("tensorflow_protocol_2.pkl", triple, protocol=2)
    fewer = {name: t for name, t in w.items() if not name.startswith("noises.") and name != "latent_avg"}
    write("tensorflow_fewer.pkl", tensorflow(fewer))

    save_file({k: v.float().contiguous() for k, v in expected.items()}, HERE / "expected.safetensors")


if __name__ == "__main__":
    main()
