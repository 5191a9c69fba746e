"""The networks of the face generator's training and one step of it."""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F

import faces_data
import training
from efficientnet import WIDTHS, EfficientNetLite0
from projected import Augmentation, Discriminator, Moments, Projection
from stylegan2 import Generator, read_generator

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


def channels(tiny=False):
    """Width of each resolution: of the generator that is shipped, or of a 32 px one for tests."""
    if tiny:
        return {4: 16, 8: 16, 16: 16, 32: 8}
    return {4: 192, 8: 192, 16: 128, 32: 64, 64: 32, 128: 16}


def generator_rate(progress):
    """The generator's learning rate: 0.002, 0.0006 at half time, 0.0002 at the end."""
    return 0.002 * 0.1**progress


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
        self.generator = Generator(channels(args.tiny), 16 if args.tiny else 128).to(self.device)
        self.origin = "random weights"
        if args.init:
            self.generator.start_from(read_generator(args.init))
            self.origin = Path(args.init).name
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        if args.bfloat16:
            self.generator.bfloat16_from = 64
        random = args.backbone == "random"
        backbone = EfficientNetLite0.random() if random else EfficientNetLite0.load(args.backbone)
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
