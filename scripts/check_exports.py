"""Loads exports with the programs they are for, and compares. Called by scripts/check-exports.

python check_exports.py GOLDEN WORK NADA
python check_exports.py --make GOLDEN WORK    writes what is to be exported beside the goldens
"""

import os
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import load_file, save_file

if sys.argv[1] == "--make":
    from model import Generator

    golden, work = map(Path, sys.argv[2:])
    torch.manual_seed(0)
    # Widths as rosinality's class has them: as it is, and with `channel_multiplier=1`.
    for name, network in ("usual", Generator(8, 32, 2)), ("narrow", Generator(64, 16, 2, channel_multiplier=1)):
        torch.save({"g_ema": network.state_dict(), "latent_avg": torch.zeros(network.style_dim)}, work / f"made_{name}.pt")
    changed = load_file(golden / "generator32" / "generator.safetensors")
    changed["conv1.activate.bias"] += 1
    save_file(changed, work / "changed.safetensors")
    sys.exit()

golden, work, nada = map(Path, sys.argv[1:])
LIMIT = 1e-4
worst = {}


def close(what, got, want):
    got, want = torch.as_tensor(got), torch.as_tensor(want)
    assert got.shape == want.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    difference = (got - want).abs().max().item()
    assert difference <= LIMIT, f"{what}: differs by {difference:.1e}"
    worst[what] = max(worst.get(what, 0.0), difference)


def session(path):
    onnx.checker.check_model(str(path), full_check=True)
    assert onnx.load(path).opset_import[0].version == 17, path
    run = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = run.get_inputs()[0].name
    return lambda value: run.run(None, {name: value.numpy()})[0]


@torch.no_grad()
def networks(name, z, w_plus, from_z, from_w):
    """TorchScript and ONNX, for batches of 1 and 3; `from_z` is truncated by 0.7."""
    script = torch.jit.load(work / f"{name}-torchscript.pt")
    mapping, synthesis = session(work / f"{name}-mapping.onnx"), session(work / f"{name}.onnx")
    for n in 1, 3:
        z_n, w_n, from_z_n, from_w_n = (t[torch.arange(n) % len(t)] for t in (z, w_plus, from_z, from_w))
        close("torch.jit z", script(z_n), from_z_n)
        close("torch.jit w+", script.synthesis(w_n), from_w_n)
        close("ONNX z", synthesis(torch.as_tensor(mapping(z_n))), from_z_n)
        close("ONNX w+", synthesis(w_n), from_w_n)


# The goldens were recorded from rosinality's own code.
for name in "generator32", "generator64":
    io = load_file(golden / name / "io.safetensors")
    script = torch.jit.load(work / f"{name}-torchscript.pt")
    truncated = io.get("image_trunc07")
    if truncated is None:
        truncated = script.synthesis(io["latent_trunc07"])  # recorded as codes only
    networks(name, io["z"], io["wplus"], truncated, io["image_wplus"])
    if "image_zero_noise" in io:
        w = script.w_plus(io["z"][:1], 1.0)
        close("torch.jit, no noise", torch.jit.load(work / f"{name}-quiet.pt")(io["z"][:1], 1.0), io["image_zero_noise"])
        close("ONNX, no noise", session(work / f"{name}-quiet.onnx")(w), io["image_zero_noise"])

    # A rosinality checkpoint: what torch wrote and what we wrote are the same dictionary.
    theirs, ours = (torch.load(p, weights_only=True) for p in (golden / name / "generator.pt", work / f"{name}.pt"))
    assert list(ours) == ["g_ema", "latent_avg"] and type(ours["g_ema"]) is OrderedDict, list(ours)
    assert ours["g_ema"].keys() == theirs["g_ema"].keys(), ours["g_ema"].keys() ^ theirs["g_ema"].keys()
    assert torch.equal(ours["latent_avg"], theirs["latent_avg"])
    for key, tensor in theirs["g_ema"].items():
        assert tensor.dtype == ours["g_ema"][key].dtype and torch.equal(tensor, ours["g_ema"][key]), key
    tensors = load_file(work / f"{name}.safetensors")
    assert all(torch.equal(tensor, ours["g_ema"].get(key, ours["latent_avg"])) for key, tensor in tensors.items())

# A class and a clamp, as NVIDIA's definition has them.
expected = load_file(golden / "nvidia" / "expected.safetensors")
for name, image in ("class", "image_class_2"), ("clamp", "image_clamp"):
    script = torch.jit.load(work / f"{name}-torchscript.pt")
    networks(name, expected["z"], script.w_plus(expected["z"]), expected[image], expected[image])

half = torch.load(work / "half.pt", weights_only=True)["g_ema"]
full = torch.load(golden / "generator32/generator.pt", weights_only=True)["g_ema"]
assert all(t.dtype == torch.float16 and torch.equal(t, full[key].half()) for key, t in half.items())

# The shipped faces, against `nada generate`.
torch.manual_seed(0)
z = torch.randn(1, 128)
w_plus = torch.randn(1, 12, 128) * 0.5 + torch.load(work / "faces128.pt", weights_only=True)["latent_avg"]


def generated(kind, codes, psi):
    np.save(work / "codes.npy", codes.numpy())
    command = [nada, "-q", "generate", "--generator", "faces128", "--latents", "codes.npy", "--latent-kind", kind]
    command += ["--truncation", psi, "--raw", "raw.safetensors", "--force"]
    subprocess.run(list(map(str, command)), cwd=work, check=True, stdout=subprocess.DEVNULL)
    return load_file(work / "raw.safetensors")["images"]


networks("faces128", z, w_plus, generated("z", z, 0.7), generated("w+", w_plus, 1))



def lines_of(card):
    [lines] = re.findall(r"^```python\n(.*?)^```$", card.read_text(), re.MULTILINE | re.DOTALL)
    return lines


def run(lines):
    """Runs lines of a card as whoever got the export would: in its folder, rosinality's code within reach."""
    paths = {**os.environ, "PYTHONPATH": str(Path(__file__).parent / "rosinality")}
    ran = subprocess.run([sys.executable, "-c", lines], cwd=work, env=paths, capture_output=True, text=True)
    assert ran.returncode == 0, f"the lines of a card fail:\n{lines}\n{ran.stderr}"


cards = sorted(work.glob("*.md"))
for card in cards:
    lines = lines_of(card)
    run(lines)
    if "from model import" not in lines:
        continue
    # The generator that those lines have made, against `nada generate`.
    name = card.stem
    state = torch.load(work / name, weights_only=True)["g_ema"]
    z = torch.randn(2, state["style.1.weight"].shape[1])
    torch.save(z, work / "z.tensor")
    run(
        lines + 'with torch.no_grad():\n    images, _ = generator([torch.load("z.tensor")], randomize_noise=False)\n'
        'torch.save(images, "images.tensor")\n'
    )
    np.save(work / "codes.npy", z.numpy())
    source = [golden / "nvidia" / "ada_classes.pkl", "--class", "2"] if name == "class.pt" else [name]
    command = [nada, "-q", "generate", "--generator", *source, "--latents", "codes.npy", "--latent-kind", "z"]
    command += ["--truncation", "1", "--raw", "raw.safetensors", "--force"]
    subprocess.run(list(map(str, command)), cwd=work, check=True, stdout=subprocess.DEVNULL)
    want = load_file(work / "raw.safetensors")["images"]
    size = max(1.0, want.abs().max().item())  # random networks make wild images
    close("the lines for rosinality's class", torch.load(work / "images.tensor") / size, want / size)
for kind in "ready", "converted":
    lines = lines_of(work / f"{kind}-delta.safetensors.md")
    run(lines + 'from safetensors.torch import save_file\nsave_file(tensors, "together.st")\n')
    together, changed = load_file(work / "together.st"), load_file(work / "changed.safetensors")
    # The usual filters are part of every generator, and in no delta.
    own = {name: tensor for name, tensor in changed.items() if not name.endswith(".kernel")}
    assert all(torch.equal(together[name], tensor) for name, tensor in own.items()), kind
assert {card.suffixes[-2] for card in cards} == {".safetensors", ".pt", ".onnx"}, cards
print(f"the lines on {len(cards)} cards run")

for what, difference in worst.items():
    print(f"{what}: largest difference {difference:.1e}")
