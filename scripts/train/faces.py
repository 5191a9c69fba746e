"""Trains the face generator: a small StyleGAN2 against a projected discriminator, sized for one CPU core.

    faces.py --data PHOTOS --state DIR --init faces64.pt --images 200000   # start
    faces.py --data PHOTOS --state DIR --resume --export faces128.safetensors
    faces.py --data PHOTOS --state DIR --report                            # figures and sheets only

`--data` is a folder or zip of aligned photos; a captions.jsonl among them may tell their ages. The state folder holds
the training's state, its log (log.jsonl), sample sheets and reports. A run ends at --images, after --minutes or at
SIGTERM, having saved its state; --resume goes on from there as if nothing had happened.
"""

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

import faces_data
import frechet
import report
import training
from faces_trainer import Trainer, channels
from stylegan2 import KERNELS


def export(trainer, path, data, facts, frame):
    """Writes the averaged generator in float16, under rosinality's names and without its constant filters."""
    average = trainer.average
    tensors = {name: tensor for name, tensor in average.state_dict().items() if not name.endswith(KERNELS)}
    tensors["latent_avg"] = average.mean_style(65536)
    tensors = {name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {
        "format": "pt",
        "network": "StyleGAN2 generator, rosinality names",
        "resolution": str(average.size),
        "data": f"{data}, {facts['train']} photos (non-commercial research)",
        "images_seen": str(trainer.images),
        "start": trainer.origin,
        "recipe": "scripts/train/faces.py: projected GAN on EfficientNet-Lite0",
    }
    if frame:
        metadata["frame"] = frame
    training.write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def photo_features(trainer, train, held_out, path):
    """Features of all photos, computed once."""
    if path.exists():
        return torch.load(path)
    result = {}
    for name, photos in (("train", train), ("held_out", held_out)):
        batches = (faces_data.to_tensor(photos[i : i + 50], trainer.device) for i in range(0, len(photos), 50))
        result[name] = frechet.features(trainer.backbone, batches)
    training.save(path, result)
    return result


def figures(trainer, known):
    """How good and how various the generator is, as numbers: twice as many fakes as there are held-out photos."""
    start = time.monotonic()
    held_out, train = known["held_out"], known["train"]
    count = 2 * len(held_out)
    fakes = frechet.features(trainer.backbone, trainer.samples(count))
    calmer = frechet.features(trainer.backbone, trainer.samples(min(count, 1000), psi=0.7))
    some = fakes[: len(held_out)]
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:count]
    photos_spread = frechet.spread(held_out)
    return {
        "images": trainer.images,
        "minutes": trainer.seconds / 60,
        "frechet": frechet.distance(fakes, held_out),
        "floor": frechet.distance(train[chosen], held_out),
        "fakes": len(fakes),
        "held_out": len(held_out),
        "diversity": frechet.spread(fakes) / photos_spread,
        "diversity_07": frechet.spread(calmer) / photos_spread,
        "precision": frechet.coverage(held_out, some),
        "recall": frechet.coverage(some, held_out),
        "took": time.monotonic() - start,
    }


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    training.add_arguments(parser, minutes=27, batch=16)
    parser.add_argument("--init", help="generator to start from (.pt or .safetensors, this resolution or less)")
    parser.add_argument("--bfloat16", action="store_true", help="use bfloat16 in the widest blocks (AVX-512 BF16, GPU)")
    parser.add_argument("--tiny", action="store_true", help="a 32 px generator of few channels, for tests")
    parser.add_argument("--export", type=Path, help="write the generator to this .safetensors file in the end")
    return parser.parse_args()


def main():
    args = arguments()
    training.prepare_cpu(args.threads)
    args.state.mkdir(parents=True, exist_ok=True)
    log = training.Log(args.state / "log.jsonl")
    side = max(channels(args.tiny))
    photos, held_out, facts = faces_data.load(args.data, side, args.state / f"photos_{side}.npy")
    trainer = Trainer(args, photos)
    if args.resume or args.report:
        trainer.restore(torch.load(args.state / "state.pt", map_location="cpu", weights_only=False))
    elif (args.state / "state.pt").exists():
        raise SystemExit(f"{args.state} holds a training: --resume it, or name another folder")
    log.write("start", images=trainer.images, planned=args.images, origin=trainer.origin, **facts)
    known = photo_features(trainer, photos, held_out, args.state / f"features_{side}.pt")
    if not args.report:
        training.run(
            trainer,
            args,
            log,
            draw=lambda: report.samples(trainer, args.state / f"sheet_{trainer.images // 1000:04d}k.png"),
            measure=lambda: figures(trainer, known),
        )
    if args.report or trainer.images >= trainer.planned:
        log.write("figures", **figures(trainer, known))
        report.samples(trainer, args.state / "sheet.png")
        report.neighbours(trainer, photos, known["train"], args.state / "neighbours.png")
        report.history(log.rows("figures"), args.state)
    if args.export:
        export(trainer, args.export, Path(args.data).stem, facts, args.frame)


if __name__ == "__main__":
    main()
