"""Random weights in the original formats, and a run with them: see scripts/full_size.

    python full_size.py make full|small FOLDER
    python full_size.py run NADA ARGUMENT…

`make` writes FOLDER/generator.pt, {"g_ema": …, "latent_avg": …} as rosinality's conversion of NVIDIA's networks does, and
FOLDER/ViT-B-32.pt and ViT-B-16.pt, TorchScript archives with the names, shapes and half precision of OpenAI's. What is
there is kept. `run` starts the program and says how long it loaded, what a step took, and its largest memory.
"""

import json
import math
import os
import resource
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path


def generator(size, multiplier, style_dim, layers, widest):
    """rosinality's state dictionary, with his initial weights."""
    import torch

    channels = {side: min(16384 * multiplier // side, widest) for side in (2**i for i in range(2, 11))}
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = taps.outer(taps) / 16
    s = OrderedDict()
    for i in range(1, layers + 1):
        s[f"style.{i}.weight"] = torch.randn(style_dim, style_dim) * 100
        s[f"style.{i}.bias"] = torch.zeros(style_dim)
    s["input.input"] = torch.randn(1, channels[4], 4, 4)

    def modulated(name, inputs, outputs, side):
        s[f"{name}.conv.weight"] = torch.randn(1, outputs, inputs, side, side)
        s[f"{name}.conv.modulation.weight"] = torch.randn(inputs, style_dim)
        s[f"{name}.conv.modulation.bias"] = torch.ones(inputs)

    def styled(name, inputs, outputs):
        modulated(name, inputs, outputs, 3)
        s[f"{name}.noise.weight"] = torch.full([1], 0.05)
        s[f"{name}.activate.bias"] = torch.zeros(outputs)

    def to_rgb(name, inputs):
        modulated(name, inputs, 3, 1)
        s[f"{name}.bias"] = torch.zeros(1, 3, 1, 1)

    styled("conv1", channels[4], channels[4])
    to_rgb("to_rgb1", channels[4])
    for b, side in enumerate(2**i for i in range(3, int(math.log2(size)) + 1)):
        styled(f"convs.{2 * b}", channels[side // 2], channels[side])
        s[f"convs.{2 * b}.conv.blur.kernel"] = kernel
        styled(f"convs.{2 * b + 1}", channels[side], channels[side])
        to_rgb(f"to_rgbs.{b}", channels[side])
        s[f"to_rgbs.{b}.upsample.kernel"] = kernel
    for i in range(2 * int(math.log2(size)) - 3):
        side = 4 << ((i + 1) // 2)
        s[f"noises.noise_{i}"] = torch.randn(1, 1, side, side)
    return {"g_ema": s, "latent_avg": torch.zeros(style_dim)}


def clip(patch, width, layers, text_width, text_layers, embedding):
    """OpenAI's tensors: half precision but for what `convert_weights` leaves alone."""
    import torch

    s = OrderedDict()
    half = torch.float16

    def random(name, *shape, dtype=half, scale=0.02):
        s[name] = (torch.randn(*shape) * scale).to(dtype)

    def norm(name, size):
        s[f"{name}.weight"], s[f"{name}.bias"] = torch.ones(size), torch.zeros(size)

    def blocks(prefix, size, count):
        for i in range(count):
            block = f"{prefix}transformer.resblocks.{i}"
            random(f"{block}.attn.in_proj_weight", 3 * size, size)
            random(f"{block}.attn.in_proj_bias", 3 * size)
            random(f"{block}.attn.out_proj.weight", size, size)
            random(f"{block}.attn.out_proj.bias", size)
            norm(f"{block}.ln_1", size)
            random(f"{block}.mlp.c_fc.weight", 4 * size, size)
            random(f"{block}.mlp.c_fc.bias", 4 * size)
            random(f"{block}.mlp.c_proj.weight", size, 4 * size)
            random(f"{block}.mlp.c_proj.bias", size)
            norm(f"{block}.ln_2", size)

    random("positional_embedding", 77, text_width, dtype=torch.float32)
    random("text_projection", text_width, embedding, scale=text_width**-0.5)
    s["logit_scale"] = torch.tensor(math.log(100.0))
    random("visual.class_embedding", width, dtype=torch.float32)
    random("visual.positional_embedding", (224 // patch) ** 2 + 1, width, dtype=torch.float32)
    random("visual.proj", width, embedding, scale=width**-0.5)
    random("visual.conv1.weight", width, 3, patch, patch)
    norm("visual.ln_pre", width)
    blocks("visual.", width, layers)
    norm("visual.ln_post", width)
    blocks("", text_width, text_layers)
    random("token_embedding.weight", 49408, text_width, dtype=torch.float32)
    norm("ln_final", text_width)
    for name, number in [("input_resolution", 224), ("context_length", 77), ("vocab_size", 49408)]:
        s[name] = torch.tensor(number)
    return s


def scripted(tensors, path):
    """A module of modules with these tensors, as `torch.jit.save` writes it."""
    import torch

    class Node(torch.nn.Module):
        pass

    class Root(Node):
        # Long enough that its source is a member of more than 200 bytes: torch deflates those.
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            a = image * 2.0 + 1.0
            b = torch.tanh(a) - torch.sigmoid(a) * 0.5
            c = torch.relu(b) + torch.exp(-b * b)
            return c.sum() / (c.abs().mean() + 1.0) + a.mean() - b.mean() * c.mean()

    root = Root()
    for name, value in tensors.items():
        node = root
        *way, leaf = name.split(".")
        for part in way:
            if not hasattr(node, part):
                node.add_module(part, Node())
            node = getattr(node, part)
        if value.is_floating_point():
            node.register_parameter(leaf, torch.nn.Parameter(value, requires_grad=False))
        else:
            node.register_buffer(leaf, value)
    torch.jit.script(root).save(str(path))


def make(size, folder):
    import torch

    torch.manual_seed(0)
    full = size == "full"
    text = (512, 12, 512) if full else (64, 2, 64)
    tower = (768, 12) if full else (64, 2)
    made = {
        "generator.pt": lambda path: torch.save(
            generator(1024, 2, 512, 8, 512) if full else generator(64, 1, 64, 4, 64), path
        ),
        "ViT-B-32.pt": lambda path: scripted(clip(32, *tower, *text), path),
        "ViT-B-16.pt": lambda path: scripted(clip(16, *tower, *text), path),
    }
    for name, write in made.items():
        path = folder / name
        if path.exists():
            continue
        part = folder / f"{name}.part"
        write(part)
        part.rename(path)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", file=sys.stderr)


def run(command):
    began = time.monotonic()
    lines = []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        lines.append((time.monotonic() - began, line))
    code = process.wait()
    seconds = time.monotonic() - began
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    steps = [(at, json.loads(line)) for at, line in lines if '"step"' in line]
    for at, step in steps:
        if not math.isfinite(step["loss"]):
            sys.exit(f"step {step['step']}: the loss is {step['loss']}")
        print(f"step {step['step']}: {step['seconds']:.1f} s, loss {step['loss']:.4f}, {at:.1f} s after the start")
    if steps:
        at, first = steps[0]
        print(f"until the first step began: {at - first['seconds']:.1f} s")
    print(f"in all: {seconds:.1f} s, processor {usage.ru_utime + usage.ru_stime:.1f} s, peak memory {peak / 2**30:.2f} GiB")
    print(f"on {os.cpu_count()} processors")
    if code != 0:
        sys.exit(code)
    if not steps:
        sys.exit("no step was made")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", "full" | "small" as size, folder]:
            make(size, Path(folder))
        case ["run", *command] if command:
            run(command)
        case _:
            sys.exit(__doc__)
