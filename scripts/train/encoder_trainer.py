"""The encoder's training: a conveyor of pictures, each at a round of its own, and one step on them.

A step sees every picture of the conveyor once. Its first part are the generator's own pictures: their styles are
known, so the loss compares codes and needs no gradient through the generator. The rest are photos, whose loss compares
what the generator makes of the codes. What a picture's round leaves (its codes, its result) is what its next round
starts from; after its last round a new picture takes its place. So a step has pictures of all rounds, and the batch
norms have the statistics of all.
"""

import copy
import hashlib
import math
from pathlib import Path

import torch
import torch.nn.functional as F

import faces_data
import perceptual
import training
from efficientnet import EfficientNetLite0
from encoder_model import Encoder, channels
from style_space import StyleSpace
from stylegan2 import load_generator

HALF_LIFE = 10_000
"""Pictures after which the average of the encoder's weights has forgotten half."""

RATE, WARMUP = 0.002, 200
"""The highest learning rate, and the steps it takes to get there."""

FIXED = 0.5
"""Share of the training after which the batch norms keep their statistics, as they will in use."""

GENERATED = 0.25
"""Share of a batch that the generator made."""

CODES, PIXELS, LOOKS, NEARNESS = 0.5, 1.0, 0.15, 0.015
"""Weights of the losses: of the codes of generated pictures; of photos' pixels, looks, and distance in style space."""


def jitter(photos, angle=5, scale=0.06, shift=0.04, color=0.1):
    """Photos slightly turned, scaled, moved and retinted, half of them mirrored: users' photos vary in all of it."""

    def draw(*shape):
        return torch.rand(*shape, device=photos.device) * 2 - 1

    count = len(photos)
    turn, size = draw(count) * math.radians(angle), 1 + draw(count) * scale
    mirror = torch.where(draw(count) < 0, -1.0, 1.0)
    cos, sin = size * turn.cos(), size * turn.sin()
    dx, dy = draw(2, count) * 2 * shift
    matrix = torch.stack([cos * mirror, -sin, dx, sin * mirror, cos, dy], 1).view(count, 2, 3)
    grid = F.affine_grid(matrix, list(photos.shape), align_corners=False)
    photos = F.grid_sample(photos, grid, padding_mode="reflection", align_corners=False)
    grey = photos.mean(1, keepdim=True)
    photos = grey + (photos - grey) * (1 + 1.5 * color * draw(count, 1, 1, 1))
    photos = photos * (1 + color * draw(count, 1, 1, 1)) + color * draw(count, 1, 1, 1)
    return photos.clamp(-1, 1)


class Trainer:
    """The networks, the conveyor and one step of training."""

    def __init__(self, args, photos):
        self.device = torch.device(args.device)
        self.batch, self.planned, self.rounds = args.batch, args.images, args.rounds
        self.photos = photos
        torch.manual_seed(args.seed)
        self.generator, mean = load_generator(args.generator)
        self.generator.requires_grad_(False).to(self.device)
        self.generator_name = Path(args.generator).name
        self.generator_sha256 = hashlib.sha256(Path(args.generator).read_bytes()).hexdigest()
        if args.bfloat16:
            self.generator.bfloat16_from = 32
        self.noise = self.generator.fixed_noise()
        self.space = StyleSpace(self.generator).to(self.device)
        self.mean = mean.to(self.device).expand(self.generator.rows, -1)
        self.start = self.render(self.mean[None])[0]
        size = {"codes": self.generator.rows, "style_dim": self.generator.style_dim, "side": self.generator.size}
        encoder = Encoder(**channels(args.tiny), **size)
        self.encoder = encoder.to(self.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.encoder).requires_grad_(False).eval()
        random = args.backbone == "random"
        backbone = EfficientNetLite0.random() if random else EfficientNetLite0.load(args.backbone)
        self.backbone = backbone.to(self.device, memory_format=torch.channels_last)
        self.adam = torch.optim.AdamW(self.encoder.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
        self.order = faces_data.Order(len(photos), 1, args.seed)
        self.step, self.images, self.seconds, self.shown = 0, 0, 0.0, 0
        self.generated = round(self.batch * GENERATED)
        self.belt = self.fresh_belt()

    def fresh_belt(self):
        """An empty conveyor: every place counts as done, and the first rounds end at different steps."""
        side, rows = self.generator.size, self.generator.rows
        return {
            "targets": torch.zeros(self.batch, 3, side, side, device=self.device),
            "results": torch.zeros(self.batch, 3, side, side, device=self.device),
            "styles": torch.zeros(self.generated, rows, self.generator.style_dim, device=self.device),
            "codes": torch.zeros(self.batch, rows, self.generator.style_dim, device=self.device),
            "left": torch.zeros(self.batch, dtype=torch.long),
        }

    def parts(self):
        """Everything with a state dict that a state is made of."""
        return {"encoder": self.encoder, "average": self.average, "adam": self.adam}

    COUNTERS = ("step", "images", "seconds", "shown")

    def state(self):
        """All that is needed to go on."""
        counters = {name: getattr(self, name) for name in self.COUNTERS}
        rest = {"belt": self.belt, "generator": self.generator_sha256, "random": training.random_state(self.device)}
        return {name: part.state_dict() for name, part in self.parts().items()} | counters | rest

    def restore(self, state):
        """Goes on from a state; with another generator or batch than its own, on new pictures."""
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        for name in self.COUNTERS:
            setattr(self, name, state[name])
        same_size = len(state["belt"]["codes"]) == self.batch
        if same_size and state["generator"] == self.generator_sha256:
            self.belt = {name: x.to(self.belt[name].device) for name, x in state["belt"].items()}
        training.restore_random_state(state["random"], self.device)

    @property
    def progress(self):
        return min(self.images / self.planned, 1.0)

    @torch.no_grad()
    def render(self, codes):
        """The generator's pictures, without gradient."""
        return self.generator.synthesis(codes, self.noise)

    def rounds_now(self):
        """How many rounds a picture stays: the first ones are learnt first, all from a third of the training on."""
        return max(1, math.ceil(self.rounds * min(1.0, 0.4 + 1.8 * self.progress)))

    def styles(self, count):
        """Style rows of random faces, from calm to lively; half of them change to a second face's at a random row."""
        w, other = self.generator.style(torch.randn(2 * count, self.generator.style_dim, device=self.device)).chunk(2)
        rows = self.generator.rows
        first = torch.randint(1, 2 * rows, (count, 1, 1), device=self.device)
        mixed = torch.where(torch.arange(rows, device=self.device)[:, None] < first, w[:, None], other[:, None])
        psi = 0.5 + 0.5 * torch.rand(count, 1, 1, device=self.device)
        return self.mean + psi * (mixed - self.mean)

    @torch.no_grad()
    def refill(self):
        """Puts new pictures where the last round is over."""
        belt, rounds = self.belt, self.rounds_now()
        places = (belt["left"] == 0).nonzero()[:, 0]
        if not len(places):
            return
        made, taken = places[places < self.generated], places[places >= self.generated]
        if len(made):
            belt["styles"][made] = self.styles(len(made))
            belt["targets"][made] = self.render(belt["styles"][made]).clamp(-1, 1)
        if len(taken):
            count = len(self.photos)
            chosen = [self.order.at(*divmod(self.shown + i, count)) for i in range(len(taken))]
            self.shown += len(taken)
            belt["targets"][taken] = jitter(faces_data.to_tensor(self.photos[chosen], self.device))
        belt["codes"][places] = self.mean
        belt["results"][places] = self.start
        # All places at once: the very first pictures. They leave one after the other, and so will all that follow.
        belt["left"][places] = rounds if self.step else 1 + places % rounds

    def set_rates(self):
        """The learning rate of this step: it rises, then falls along a cosine."""
        rate = RATE * min(1.0, (self.step + 1) / WARMUP) * (0.51 + 0.49 * math.cos(math.pi * self.progress))
        for group in self.adam.param_groups:
            group["lr"] = rate

    def train_step(self):
        """One round of every picture on the conveyor; returns what to log."""
        self.set_rates()
        self.refill()
        self.encoder.train(self.progress < FIXED)
        belt, made = self.belt, self.generated
        codes = belt["codes"] + self.encoder(torch.cat([belt["targets"], belt["results"]], 1))
        values, results = {}, []
        if made:
            error = (codes[:made] - belt["styles"]) / self.space.deviation
            values["codes"] = F.smooth_l1_loss(error, torch.zeros_like(error))
            results.append(self.render(codes[:made].detach()))
        if made < self.batch:
            photos, wanted = belt["targets"][made:], codes[made:]
            pictures = self.generator.synthesis(wanted, self.noise)
            with torch.no_grad():
                known = perceptual.unit_maps(self.backbone, photos)
            values["pixels"] = F.mse_loss(pictures, photos)
            values["looks"] = perceptual.distance(perceptual.unit_maps(self.backbone, pictures), known).mean()
            values["nearness"] = self.space.distance(wanted).mean()
            results.append(pictures.detach())
        weights = {"codes": CODES, "pixels": PIXELS, "looks": LOOKS, "nearness": NEARNESS}
        values["loss"] = sum(weights[name] * value for name, value in values.items())
        self.adam.zero_grad()
        values["loss"].backward()
        values["gradient"] = torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
        self.adam.step()
        belt["codes"], belt["results"] = codes.detach(), torch.cat(results)
        belt["left"] -= 1
        self.step += 1
        self.images += self.batch
        self.follow()
        return {name: value.detach() for name, value in values.items()}

    @torch.no_grad()
    def follow(self):
        """Moves the averaged encoder towards the trained one; faster in the beginning, when it lags most."""
        share = 1 - 0.5 ** (self.batch / min(HALF_LIFE, 200 + 0.1 * self.images))
        own, trained = self.average.state_dict(), self.encoder.state_dict()
        for name, mean in own.items():
            if mean.is_floating_point():
                mean.lerp_(trained[name], share)
            else:
                mean.copy_(trained[name])

    @torch.no_grad()
    def invert(self, photos):
        """Codes and pictures (within [-1, 1]) before the first round and after each, by the averaged encoder."""
        codes = self.mean.expand(len(photos), -1, -1)
        results = self.start.expand(len(photos), -1, -1, -1)
        yield codes, results.clamp(-1, 1)
        for _ in range(self.rounds):
            codes = codes + self.average(torch.cat([photos, results], 1))
            results = self.render(codes)
            yield codes, results.clamp(-1, 1)
