"""Trains the encoder that finds a photo's styles: a small ReStyle for a generator of `faces.py`, on one CPU core.

    encoder.py --data PHOTOS --generator faces128.safetensors --backbone WHEEL --state DIR --images 200000   # start
    encoder.py … --resume --export encoder128.safetensors --frame "0.5 0.47 0.93"
    encoder.py … --resume --generator NEWER --images 250000     # go on with a generator that was trained further
    encoder.py … --report --beside OTHER                        # figures and sheets only, beside another training's

`--images` counts the pictures that pass through the encoder: each round of each picture. `--rounds 1` makes an encoder
that has one look, to compare with. The state folder holds the training's state, its log (log.jsonl), sample sheets and
reports. A run ends at --images, after --minutes or at SIGTERM, having saved its state; --resume goes on from there as
if nothing had happened.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import faces_data
import perceptual
import report
import training
from encoder_trainer import Trainer
from stylegan2 import load_generator

LARGEST = 2_050_000
"""Numbers that an exported file may hold."""

MEASURES = ("squared", "absolute", "looks", "far")
"""The figures: mean squared and absolute error of pixels in [-1, 1], LPIPS-like distance, distance in style space."""


def export(trainer, path, data, facts, frame, refine):
    """Writes the averaged encoder in float16, under the original's names, with what its readers must know."""
    tensors = trainer.average.state_dict()
    tensors = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    count = sum(tensor.numel() for tensor in tensors.values())
    if count > LARGEST:
        raise SystemExit(f"{count:,} numbers are more than the {LARGEST:,} that may ship")
    # A variance may be larger than float16 can say.
    most = torch.finfo(torch.float16).max
    tensors = {name: tensor.clamp(-most, most).half().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {
        "format": "pt",
        "network": "ReStyle encoder (pSp), original names",
        "encoder_type": "BackboneEncoder",
        "start_from_latent_avg": "true",
        "n_iters_per_batch": str(trainer.rounds),
        "output_size": str(trainer.generator.size),
        "data": f"{data}, {facts['train']} photos (non-commercial research)",
        "images_seen": str(trainer.images),
        "generator": trainer.generator_name,
        "generator_sha256": trainer.generator_sha256,
        "recipe": "scripts/train/encoder.py: codes of generated faces; pixels and EfficientNet-Lite0 maps of photos",
    }
    if frame:
        metadata["frame"] = frame
    if refine:
        metadata["refine"] = str(refine)
    training.write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def chosen(held_out, count, device):
    """The held-out photos that are measured: evenly spaced, always the same."""
    places = np.linspace(0, len(held_out) - 1, min(count, len(held_out))).round().astype(int)
    return faces_data.to_tensor(held_out[places], device)


@torch.no_grad()
def figures(trainer, photos):
    """How far the results are from held-out photos: each measure before the first round (0) and after each."""
    start = time.monotonic()
    sums = torch.zeros(trainer.rounds + 1, len(MEASURES), dtype=torch.double)
    for part in photos.split(20):
        known = perceptual.unit_maps(trainer.backbone, part)
        for place, (codes, results) in enumerate(trainer.invert(part)):
            error = results - part
            looks = perceptual.distance(perceptual.unit_maps(trainer.backbone, results), known)
            far = trainer.space.distance(codes).mean(1)
            values = (error.pow(2).mean((1, 2, 3)), error.abs().mean((1, 2, 3)), looks, far)
            sums[place] += torch.stack([value.double().sum().cpu() for value in values])
    means = sums / len(photos)
    named = {f"{m}{r}": float(means[r, i]) for i, m in enumerate(MEASURES) for r in range(trainer.rounds + 1)}
    facts = {"images": trainer.images, "minutes": trainer.seconds / 60, "rounds": trainer.rounds, "photos": len(photos)}
    return facts | named | {"took": time.monotonic() - start}


def sheet(trainer, photos, path):
    """Held-out photos and what is made of them, round by round."""
    rows = [(f"held-out photos; {trainer.images} images", faces_data.to_pixels(photos))]
    for place, (_, results) in enumerate(trainer.invert(photos)):
        if place in (1, 2, 3, trainer.rounds):
            rows.append((f"after round {place}", faces_data.to_pixels(results)))
    training.sheet(path, rows, columns=len(photos))


def history(rows, beside, folder):
    """A table of the last figures by round, and a plot of the squared error over time."""
    last = rows[-1]
    lines = [("the mean style", last, 0), *((f"round {r}", last, r) for r in range(1, last["rounds"] + 1))]
    levels = []
    if beside:
        other = f"beside: {beside['rounds']} round{'s' * (beside['rounds'] > 1)}, {beside['images']:,} images"
        lines.append((other, beside, beside["rounds"]))
        levels.append((other, beside[f"squared{beside['rounds']}"]))
    cells = [[label, *(f"{row[f'{name}{r}']:.4g}" for name in MEASURES)] for label, row, r in lines]
    report.table(folder / "figures.md", (f"{last['images']:,} images", *MEASURES), cells)
    ends = {1: "orange", last["rounds"]: "blue"}
    curves = []
    for r, color in ends.items():
        # A training that began with fewer looks has rows without the later rounds.
        points = [(row["images"], row[key]) for row in rows if (key := f"squared{r}") in row]
        curves.append((f"round {r}", color, points))
    title = f"Squared error on {last['photos']} held-out photos, over images seen"
    report.plot(folder / "figures.png", title, curves, levels)


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    training.add_arguments(parser, minutes=10, batch=8)
    parser.add_argument("--generator", required=True, help="the generator (.pt or .safetensors) whose styles to find")
    parser.add_argument("--beside", type=Path, help="another training's folder, whose last figures the report shows")
    parser.add_argument("--rounds", type=int, default=5, help="looks that the encoder has")
    parser.add_argument("--bfloat16", action="store_true", help="use bfloat16 in the generator (AVX-512 BF16, GPU)")
    parser.add_argument("--tiny", action="store_true", help="an encoder of few channels, for tests")
    parser.add_argument("--export", type=Path, help="write the encoder to this .safetensors file in the end")
    parser.add_argument("--refine", type=int, help="steps of optimisation that `nada` shall make after it")
    return parser.parse_args()


def main():
    args = arguments()
    training.prepare_cpu(args.threads)
    if args.tiny:
        # oneDNN's backward of convolutions of so few channels frees memory twice on some processors (torch 2.11).
        torch.backends.mkldnn.enabled = False
    args.state.mkdir(parents=True, exist_ok=True)
    log = training.Log(args.state / "log.jsonl")
    side = load_generator(args.generator)[0].size
    photos, held_out, facts = faces_data.load(args.data, side, args.state / f"photos_{side}.npy")
    trainer = Trainer(args, photos)
    if args.resume or args.report:
        trainer.restore(torch.load(args.state / "state.pt", map_location="cpu", weights_only=False))
    elif (args.state / "state.pt").exists():
        raise SystemExit(f"{args.state} holds a training: --resume it, or name another folder")
    generator = f"{trainer.generator_name} {trainer.generator_sha256[:12]}"
    log.write("start", images=trainer.images, planned=args.images, generator=generator, **facts)
    measured, shown = (chosen(held_out, count, trainer.device) for count in (200, 12))
    if not args.report:
        training.run(
            trainer,
            args,
            log,
            draw=lambda: sheet(trainer, shown, args.state / f"sheet_{trainer.images // 1000:04d}k.png"),
            measure=lambda: figures(trainer, measured),
        )
    if args.report or trainer.images >= trainer.planned:
        log.write("figures", **figures(trainer, measured))
        sheet(trainer, shown, args.state / "sheet.png")
        rows = training.Log(args.beside / "log.jsonl").rows("figures") if args.beside else []
        history(log.rows("figures"), rows[-1] if rows else None, args.state)
    if args.export:
        export(trainer, args.export, Path(args.data).stem, facts, args.frame, args.refine)


if __name__ == "__main__":
    main()
