#!/usr/bin/env python3
"""Failed adaptations for `clip.py --negatives`: what the present CLIPs let pass, shown to the next ones as wrong.

    negatives.py --clips DIR --generator FILE --out DIR [--styles a,b] [--iterations N]

Runs the tool itself with the paper's loss and no help against attacks (no augmentation, no structure terms), so that
every weakness of the judges shows, and stores pairs (source, adapted) as `STYLE-SEED.npz`.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from safetensors.torch import load_file

# The style as clip.py calls it, and the phrase that asks for it.
PHRASES = {
    "pencil": "sketch", "charcoal": "charcoal drawing", "ink": "ink drawing", "cartoon": "cartoon", "anime": "anime", "comic": "comic book",
    "popart": "pop art", "oil": "oil painting", "watercolor": "watercolor", "vangogh": "Van Gogh painting", "pixel": "pixel art",
    "mosaic": "mosaic", "stained": "stained glass", "bw": "old black-and-white photograph", "sepia": "old photograph", "neon": "neon",
    "marble": "marble statue", "bronze": "bronze statue", "gold": "golden statue", "zombie": "zombie", "clown": "clown", "blue": "smurf",
    "ukiyo": "ukiyo-e", "glasses": "person with glasses",
}


def images(file):
    """`[N, 128, 128, 3]`, whatever the size the generator makes."""
    x = F.interpolate(load_file(file)["images"].clamp(-1, 1), size=128, mode="bicubic", antialias=True)
    return ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--nada", default=str(Path(__file__).resolve().parents[2] / "target/release/nada"))
    p.add_argument("--clips", required=True, help="folder of clip_*.safetensors")
    p.add_argument("--generator", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--styles", default=",".join(PHRASES))
    p.add_argument("--iterations", type=int, default=60)
    p.add_argument("--count", type=int, default=96)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", default="1")
    p.add_argument("--set", action="append", default=[], help="more settings for `nada adapt`")
    args = p.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    clips = [f"--clip={f}" for f in sorted(Path(args.clips).glob("clip_*.safetensors"))]
    run = lambda *a: subprocess.run([args.nada, *map(str, a)], check=True, stdout=subprocess.DEVNULL)  # noqa: E731
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        common = ["--count", args.count, "--truncation", 0.8, "--seed", 77 + args.seed, "--quiet", "--threads", args.threads]
        run("generate", "--generator", args.generator, "--raw", scratch / "source.safetensors", *common)
        source = images(scratch / "source.safetensors")
        for style in args.styles.split(","):
            file = out / f"{style}-{args.seed}.npz"
            if file.exists():
                continue
            sets = [x for s in args.set for x in ("--set", s)]
            run("adapt", "--preset", "default", "--generator", args.generator, *clips, "--source", "photo", "--target", PHRASES[style],
                "--iterations", args.iterations, "--seed", args.seed, "--out", scratch / style, "--quiet", "--threads", args.threads, *sets)
            run("generate", "--generator", scratch / style, "--raw", scratch / f"{style}.safetensors", *common)
            np.savez_compressed(out / f"{style}-{args.seed}.tmp.npz", source=source, adapted=images(scratch / f"{style}.safetensors"))
            (out / f"{style}-{args.seed}.tmp.npz").rename(file)
            print(file, flush=True)


if __name__ == "__main__":
    main()
