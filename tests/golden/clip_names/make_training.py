"""Writes training/epoch_32.pt, a checkpoint as open_clip's training writes them, from open_clip/ (make.py).

    python make_training.py
"""

from pathlib import Path

import torch

HERE = Path(__file__).parent

weights = torch.load(HERE / "open_clip/open_clip_pytorch_model.bin", weights_only=True)
# One row for all tokens: small in the file.
weights["token_embedding.weight"] = weights["token_embedding.weight"][:1].clone().expand(49408, 8)
name = "2026_12_01-10_00_00-model_ViT-B-32-lr_0.0005-b_256-j_4-p_amp"
torch.save(
    {
        "epoch": 32,
        "name": name,
        "state_dict": {f"module.{key}": value for key, value in weights.items()},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(2)}}, "param_groups": []},
    },
    HERE / "training/epoch_32.pt",
)
