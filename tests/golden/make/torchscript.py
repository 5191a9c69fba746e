"""Writes the narrow networks of ../ as `torch.jit.save` does, not packed anew: the longer members of `code/` are deflated.

    pip install torch==2.11.0 safetensors
    pip download --no-deps --no-binary :all: openai-clip==1.0.1       # unpack it; CLIP_MODEL is its clip/model.py
    python torchscript.py CLIP_MODEL

../clip_vit/model_jit_fp16.pt, ../clip_rn/model_jit_fp16.pt   traced from OpenAI's own classes after `convert_weights`, with
    the methods and buffers of the published archives
../generator32/generator_jit.pt, ../psp_gradual/checkpoint_jit.pt   the tensors under their own names

The recorded values of each folder are right for them.
"""

import importlib.util
import sys
import zipfile
from pathlib import Path

import torch

GOLDEN = Path(__file__).parent.parent


class Node(torch.nn.Module):
    """A module of nothing but what is put into it."""

    # Long enough that torch deflates its code.
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        a = image * 2.0 + 1.0
        b = torch.tanh(a) - torch.sigmoid(a) * 0.5
        c = torch.relu(b) + torch.exp(-b * b)
        return c.sum() / (c.abs().mean() + 1.0) + a.mean() - b.mean() * c.mean()


def tree(tensors, make=Node):
    """A module whose state dictionary is `tensors`, built by `make()` for each level."""
    root = make()
    for name, value in tensors.items():
        node = root
        *path, leaf = name.split(".")
        for part in path:
            if part not in node._modules:
                node.add_module(part, make())
            node = node._modules[part]
        if value.is_floating_point() and not leaf.startswith(("noise_", "kernel", "running_", "latent_avg")):
            node.register_parameter(leaf, torch.nn.Parameter(value, requires_grad=False))
        else:
            node.register_buffer(leaf, value)
    return root


def save(module, path):
    torch.jit.save(module, path)
    members = zipfile.ZipFile(path).infolist()
    assert any(member.compress_type == zipfile.ZIP_DEFLATED for member in members), f"{path} deflates nothing"
    read = torch.jit.load(path).state_dict()
    assert all(torch.equal(value, read[name]) for name, value in module.state_dict().items())


def clip(source, folder):
    weights = torch.load(GOLDEN / folder / "model.pt", weights_only=True)
    heads = lambda width: max(width // 64, 1)  # the narrow text tower has one, which OpenAI's arithmetic makes none
    vit = "visual.proj" in weights
    side = round((weights["visual.positional_embedding"].shape[0] - 1) ** 0.5) if vit else 1
    patch = weights["visual.conv1.weight"].shape[-1] if vit else None
    width = weights["visual.conv1.weight"].shape[0] if vit else weights["visual.layer1.0.conv1.weight"].shape[0]
    model = source.CLIP(
        weights["text_projection"].shape[1],
        patch * side if vit else 32,
        2 if vit else (1, 1, 1, 1),
        width,
        patch,
        77,
        49408,
        8,
        heads(8),
        2,
    )
    # Convolutions, linear layers and projections become float16, norms and embeddings stay.
    source.convert_weights(model)
    table = weights.pop("token_embedding.weight")
    model.load_state_dict(weights, strict=False)
    # A view whose rows overlap, so that the file stays small.
    model.token_embedding.weight = torch.nn.Parameter(table)
    for name, value in {"input_resolution": model.visual.input_resolution, "context_length": 77, "vocab_size": 49408}.items():
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(value))
    model.eval().requires_grad_(False)
    image = torch.zeros(1, 3, int(model.input_resolution), int(model.input_resolution))
    text = torch.zeros(1, 77, dtype=torch.int64)
    inputs = {"forward": (image, text), "encode_image": image, "encode_text": text}
    save(torch.jit.trace_module(model, inputs, check_trace=False), GOLDEN / folder / "model_jit_fp16.pt")


def main():
    spec = importlib.util.spec_from_file_location("model", sys.argv[1])
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    clip(source, "clip_vit")
    clip(source, "clip_rn")
    whole = torch.load(GOLDEN / "generator32" / "generator.pt", weights_only=True)
    tensors = whole["g_ema"] | {"latent_avg": whole["latent_avg"]}
    save(torch.jit.script(tree(tensors)), GOLDEN / "generator32" / "generator_jit.pt")
    whole = torch.load(GOLDEN / "psp_gradual" / "checkpoint.pt", weights_only=False)
    tensors = whole["state_dict"] | {"latent_avg": whole["latent_avg"]}
    save(torch.jit.script(tree(tensors)), GOLDEN / "psp_gradual" / "checkpoint_jit.pt")


if __name__ == "__main__":
    main()
