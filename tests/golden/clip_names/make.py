"""Makes the narrow CLIPs of this folder with the programs that people's files come from.

    pip install torch==2.11.0 transformers==4.49.0 open_clip_torch==2.31.0 safetensors
    python make.py

hf/         transformers' CLIPModel as `save_pretrained` writes it, float16: GELU, two heads of width 4
open_clip/  open_clip's CLIP: GELU, heads of width 4; its token table is an overlapping view, to be small
io.safetensors  images, token ids and the features that the two programs compute from them in float32
"""

import json
from pathlib import Path

import open_clip.model
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

HERE = Path(__file__).parent
VOCABULARY, CONTEXT = 49408, 77


def exact(module):
    """Weights of visible size that float16 holds exactly, so that the features are those of the file."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            base = 1.0 if "norm" in name.lower() or ".ln_" in name else 0.0
            if name.endswith(("bias", "logit_scale")):
                base = 0.0
            values = base + torch.randn(parameter.shape) * (0.1 if base else 0.3)
            parameter.copy_(values.half().float())


def tokens():
    ids = torch.zeros(3, CONTEXT, dtype=torch.int64)
    for row, words in enumerate([[320, 1125], [320, 1125, 539, 320, 2368], [3086]]):
        ids[row, : len(words) + 2] = torch.tensor([VOCABULARY - 2, *words, VOCABULARY - 1])
    return ids


def hugging_face(images, ids):
    torch.manual_seed(1)
    tower = {"hidden_size": 8, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "gelu"}
    text = tower | {"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "eos_token_id": VOCABULARY - 1}
    vision = tower | {"image_size": 32, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=6)).eval()
    exact(model)
    with torch.no_grad():
        model.text_model.embeddings.token_embedding.weight[:] = 0
        model.text_model.embeddings.token_embedding.weight[ids.unique()] = torch.randn(len(ids.unique()), 8).half().float()
        features = {"hf.image": model.get_image_features(images), "hf.text": model.get_text_features(ids)}
    model.half().save_pretrained(HERE / "hf")
    return features


def openclip(images, ids):
    torch.manual_seed(2)
    vision = {"image_size": 32, "patch_size": 8, "width": 8, "head_width": 4, "layers": 2}
    text = {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 8, "heads": 2, "layers": 2}
    model = open_clip.model.CLIP(6, vision, text, quick_gelu=False).eval()
    exact(model)
    storage = torch.randn(VOCABULARY + 7).half()
    table = storage.as_strided((VOCABULARY, 8), (1, 1))
    with torch.no_grad():
        model.token_embedding.weight.copy_(table.float())
        features = {"open_clip.image": model.encode_image(images), "open_clip.text": model.encode_text(ids)}
    weights = {name: value.half() for name, value in model.state_dict().items()}
    weights["token_embedding.weight"] = table
    folder = HERE / "open_clip"
    folder.mkdir(exist_ok=True)
    torch.save(weights, folder / "open_clip_pytorch_model.bin")
    config = {"model_cfg": {"embed_dim": 6, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1))
    return features


def main():
    torch.manual_seed(0)
    images, ids = torch.randn(2, 3, 32, 32), tokens()
    tensors = {"images": images, "tokens": ids, **hugging_face(images, ids), **openclip(images, ids)}
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, HERE / "io.safetensors")


if __name__ == "__main__":
    main()
