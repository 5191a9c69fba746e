#!/usr/bin/env python3
"""Trains the ensemble of small CLIPs that ships: a ModifiedResNet and a ViT, each with a text tower of its own.

    clip.py --data DIR --state DIR [--images N] [--minutes M] [--resume] [--negatives DIR] [--export DIR]

Both towers see the same images (rendering and augmenting costs as much as learning) but draw their own attacks. What
makes a small CLIP a judge that is hard to fool, in order of effect:

1. Pairs. Faces come as photo and stylised twin under the same crop. After the mean of each style is taken away, a photo
   must find its own twin: features keep who it is, and style becomes a shift.
2. Directions. That shift must point where the two phrases point, for every face: StyleGAN-NADA's loss, learned.
3. Attacks. Every batch is seen again, moved along its own gradient: gradients become shapes instead of dots.
4. Chaff. Noise, dots, grids, blur and colour casts fall on photos and twins alike, so they cannot mean a style.
5. Failures. Images of failed adaptations (`--negatives`, made by `negatives.py`) are shown as what a style is not.
"""

import argparse
import json
import math
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import clip_data
import styles
from captions import A, CHANGES, GROUPS, INDEX, OWN, STYLES, TEMPLATES, caption, matches, phrase_list, words_of
from clip_model import Clip, Tokens

TOWERS = {
    "rn": dict(vision=("resnet", (1, 1, 1, 1), 24)),
    "vit": dict(vision=("vit", 3, 128, 8)),
}
TINY = {
    "rn": dict(vision=("resnet", (1, 1, 1, 1), 8), text_width=64, text_layers=1),
    "vit": dict(vision=("vit", 1, 64, 16), text_width=64, text_layers=1),
}
EVERY = {"rn": 1, "vit": 2}  # a ViT's step costs twice a ResNet's and teaches less: it takes every second batch
# Styles that no cast of colour makes.
SPOILED = "pencil charcoal ink cartoon anime comic popart oil watercolor vangogh pixel mosaic stained marble neon ukiyo".split()
# Styles that keep their name under any tint.
ANY_TINT = "photo cartoon anime comic popart oil pixel mosaic stained neon glasses sunglasses pcartoon ppaint em3d".split()
TAU = 0.1  # temperature of the pair loss


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", required=True, help="folder with the data sets (README.md)")
    p.add_argument("--state", required=True, help="folder for the rendered data, state, log and sheets")
    p.add_argument("--images", type=int, default=150_000, help="images seen in all (the learning rate falls over them)")
    p.add_argument("--minutes", type=float, default=math.inf, help="stop after so many minutes; --resume goes on")
    p.add_argument("--steps", type=int, help="stop after so many steps; --resume goes on")
    p.add_argument("--resume", action="store_true", help="go on from the state")
    p.add_argument("--warm", help="begin with the weights of another run's state.pt, at a new schedule")
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--batch", type=int, default=160)
    p.add_argument("--groups", type=int, default=4, help="styles per batch that come as pairs")
    p.add_argument("--attack", type=float, default=1.2, help="largest L2 step of the attacks (images in [0, 1])")
    p.add_argument("--negatives", help="folder of failed adaptations, from negatives.py")
    p.add_argument("--per-style", type=int, default=2000, help="twins rendered per style")
    p.add_argument("--limit", type=int, help="read only so many images of each set (for tests)")
    p.add_argument("--towers", default="rn,vit")
    p.add_argument("--tiny", action="store_true", help="towers of a few channels (for tests)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--device", default="cpu")
    p.add_argument("--export", help="write clip_NAME.safetensors into this folder when it ends")
    p.add_argument("--figures", action="store_true", help="only measure the state, on held-out images")
    p.add_argument("--figures-every", type=int, default=60_000, help="images between figures (a minute each on a CPU)")
    return p.parse_args()


def tokenizer():
    """OpenAI's BPE, from the package `openai-clip` or the file that ships."""
    from bpe import Bpe

    return Bpe(Path(__file__).resolve().parents[2] / "checkpoints/bpe_simple_vocab_16e6.txt.gz")


def all_texts():
    """Every text that captions can be made of: their words are the vocabulary."""
    rng = np.random.default_rng(0)
    about = []
    for gender in (0, 1):
        for age in range(-1, 5):
            for race in range(-1, 4):
                row = clip_data.unknown()
                row[[A["face"], A["gender"], A["age"], A["race"]]] = 1, gender, age, race
                row[[A["glasses"], A["smile"], A["bangs"], A["beard"], A["young"]]] = rng.integers(0, 2, 5)
                about.append((row, ""))
    for label in ("dog", "elephant", "giraffe", "guitar", "horse", "house", "emoji"):
        row = clip_data.unknown()
        row[A["label"]] = clip_data.label_code(label)
        about.append((row, label))
    texts = [t for names, _, _ in GROUPS for t in names] + TEMPLATES
    texts += [t for c in CHANGES for t in (*c[3], *c[4])]
    texts += [caption(INDEX[s], about[rng.integers(len(about))], rng)[0] for s in STYLES if len(OWN[s]) for _ in range(300)]
    return [t.replace("{}", " ") for t in texts]


class Data:
    """Batches of crops, `[B, 3, 64, 64]` in [0, 1], with what is known of each."""

    def __init__(self, folder, negatives, rng):
        folder = Path(folder)
        meta = json.loads((folder / "meta.json").read_text())
        self.photos, self.small, self.twins = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("photos", "small", "twins"))
        self.about, self.small_about, self.twin_about = meta["photos"], meta["small"], meta["twins"]
        self.rng = rng
        self.of_style = {}
        for k, a in enumerate(self.twin_about):
            self.of_style.setdefault(a["style"], {False: [], True: []})[a["held"]].append(k)
        self.train_photos = [k for k, a in enumerate(self.about) if not a["held"]]
        self.pools = {}
        for k, a in enumerate(self.small_about):
            if not a["held"]:
                kind = "face" if a["source"] == "celeba" else a["style"] if a["style"] != "photo" else "thing"
                self.pools.setdefault(kind, []).append(k)
        self.by_value = {}
        for name, for_, against, *_ in CHANGES:
            col = A[name]
            for value in (for_, against):
                self.by_value[name, value] = [("photos", k) for k in self.train_photos if self.about[k]["row"][col] == value] + [
                    ("small", k) for k in self.pools.get("face", []) if self.small_about[k]["row"][col] == value]
        self.failures = []
        if negatives:
            for file in sorted(Path(negatives).glob("*.npz")):
                pack = np.load(file)
                style = file.stem.split("-")[0]
                self.failures.append((style, pack["source"], pack["adapted"]))

    def image(self, kind, k):
        return getattr(self, kind)[k]

    def what(self, kind, k):
        a = {"photos": self.about, "small": self.small_about, "twins": self.twin_about}[kind][k]
        return INDEX[a["style"]], np.array(a["row"]), a["label"]

    def draw(self, batch, groups):
        """Images and their meta: `groups` blocks of pairs (photos, then twins), blocks for one attribute, the rest mixed.

        The last 16 are 8 photos and what a failed adaptation made of them (or chance: `styles.spoiled`).
        Returns images, what each is, the styles of the groups, pairs per group, the change, images per value, the failed style.
        """
        rng = self.rng
        per = int(batch * 0.66 / groups / 2)
        items, names = [], [str(s) for s in rng.choice(sorted(self.of_style), groups, replace=False)]
        for s in names:
            twins = rng.choice(self.of_style[s][False], per, replace=len(self.of_style[s][False]) < per)
            items += [("photos", self.twin_about[t]["photo"]) for t in twins] + [("twins", int(t)) for t in twins]
        possible = [c for c in CHANGES if len(self.by_value[c[0], c[1]]) >= 8 and len(self.by_value[c[0], c[2]]) >= 8]
        change = possible[rng.integers(len(possible))] if possible else None
        half = batch // 16
        if change:
            for value in change[1:3]:
                pool = self.by_value[change[0], value]
                items += [pool[k] for k in rng.integers(0, len(pool), half)]
        rest = batch - len(items) - 16
        kinds = [k for k in ("face", "thing", "psketch", "pcartoon", "ppaint", "em3d") if k in self.pools]
        share = dict(face=0.2, thing=0.1, psketch=0.15, pcartoon=0.15, ppaint=0.15, em3d=0.05)
        weights = np.array([share[k] for k in kinds] + [0.2])
        for kind in rng.choice([*kinds, "twin"], max(rest, 0), p=weights / weights.sum()):
            if kind == "twin":
                pool = self.of_style[str(rng.choice(sorted(self.of_style)))][False]
                items.append(("twins", int(pool[rng.integers(len(pool))])))
            else:
                items.append(("small", int(self.pools[kind][rng.integers(len(self.pools[kind]))])))
        images = [self.image(*i) for i in items]
        whats = [self.what(*i) for i in items]
        row = clip_data.unknown()
        row[A["face"]] = 1
        if rng.random() < min(0.6, 0.08 * len(self.failures)):
            failed, source, adapted = self.failures[rng.integers(len(self.failures))]
            ids = rng.integers(0, len(source), 8)
            images += [source[i] for i in ids] + [adapted[i] for i in ids]
            whats += [(INDEX["photo"], row, "")] * 8 + [(-1, row, "")] * 8
        else:  # a spoiled photo is no style either, and still a photo
            failed = SPOILED[rng.integers(len(SPOILED))]
            source = [self.photos[k] for k in rng.choice(self.train_photos, 8)]
            spoilt = [styles.spoiled(i.astype(np.float32) / 255, rng) for i in source]
            images += source + [(np.clip(i, 0, 1) * 255).astype(np.uint8) for i in spoilt]
            whats += [(INDEX["photo"], row, "")] * 16
        return images, whats, names, per, change, half, failed


def warp(images, same, rng):
    """Crops of scale 0.45-1.05, turned, mirrored and stretched a little; blocks `same` (lists of slices) share theirs."""
    n = len(images)
    x = np.stack([i if i.shape[0] == 128 else np.repeat(np.repeat(i, 2, 0), 2, 1) for i in images])
    x = torch.from_numpy(x).permute(0, 3, 1, 2).float().div_(255)
    u = lambda lo, hi: torch.from_numpy(rng.uniform(lo, hi, n)).float()  # noqa: E731
    s, turn, flip = u(0.45, 1.05), u(-0.2, 0.2) * (u(0, 1) < 0.6), torch.where(u(0, 1) < 0.5, -1.0, 1.0)
    aspect = torch.exp(u(-0.1, 0.1))
    dx, dy = u(-1, 1) * (1 - s).clamp(min=0.04), u(-1, 1) * (1 - s).clamp(min=0.04)
    cos, sin = turn.cos() * s, turn.sin() * s
    theta = torch.stack([torch.stack([flip * cos * aspect, -sin, dx], 1), torch.stack([flip * sin, cos / aspect, dy], 1)], 1)
    for first, second in same:
        theta[second] = theta[first]
    x = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(x, 2)


def retinted(x, rng):
    """Photos under any light: hues turned, or channels weighed. Without it "sketch" means cyan: away from skin."""
    n = len(x)
    turn = torch.from_numpy(np.where(rng.random(n) < 0.5, rng.uniform(-np.pi, np.pi, n), 0)).float().view(n, 1, 1)
    gain = torch.from_numpy(rng.uniform(0.6, 1.3, (n, 3, 1, 1))).float()
    y = (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)
    i = (x * torch.tensor([0.596, -0.274, -0.322]).view(1, 3, 1, 1)).sum(1)
    q = (x * torch.tensor([0.211, -0.523, 0.312]).view(1, 3, 1, 1)).sum(1)
    i, q = i * turn.cos() - q * turn.sin(), i * turn.sin() + q * turn.cos()
    x = torch.stack([y + 0.956 * i + 0.621 * q, y - 0.272 * i - 0.647 * q, y - 1.106 * i + 1.703 * q], 1)
    return torch.where((turn == 0).view(n, 1, 1, 1), x * gain, x).clamp(0, 1)


def chaff(x, free, rng):
    """What a picture may suffer without changing its style: light, tint, blur, noise, dots, grids.

    `free` says which may have any tint: photos, and the styles that colour does not make; a sketch keeps its grey.
    """
    n = len(x)
    k = torch.from_numpy(free & (rng.random(n) < 0.45))
    x[k] = retinted(x[k], rng)
    u = lambda lo, hi, c=1: torch.from_numpy(rng.uniform(lo, hi, (n, c, 1, 1))).float()  # noqa: E731
    x = x * u(0.85, 1.15)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * u(0.85, 1.15) + mean
    g = x.mean(1, keepdim=True)
    x = (x - g) * u(0.8, 1.2) + g
    x = x * u(0.95, 1.05, 3)
    k = torch.from_numpy(rng.random(n) < 0.2)
    if k.any():
        sigma = rng.uniform(0.4, 1.0)
        w = torch.exp(-torch.arange(-2, 3).float() ** 2 / (2 * sigma**2))
        w = (w / w.sum())
        kernel = (w[:, None] * w).expand(3, 1, 5, 5)
        x[k] = F.conv2d(F.pad(x[k], (2,) * 4, mode="reflect"), kernel, groups=3)
    seed = torch.Generator().manual_seed(int(rng.integers(2**62)))
    k = torch.from_numpy(rng.random(n) < 0.5)
    if k.any():
        m = int(k.sum())
        x[k] = x[k] + torch.randn((m, 3, 64, 64), generator=seed) * torch.rand((m, 1, 1, 1), generator=seed) * 0.08
    for i in np.flatnonzero(rng.random(n) < 0.25):  # patterns such as failed generators make
        kind, strength = rng.integers(3), rng.uniform(0.02, 0.12)
        if kind == 0:  # a grid of period 2 to 8, any channel mix
            period = int(rng.integers(2, 9))
            plane = torch.randn((1, period, period), generator=seed).repeat(1, 64 // period + 1, 64 // period + 1)[:, :64, :64]
        elif kind == 1:  # blotches
            coarse = torch.randn((1, 1, int(rng.integers(8, 32)), int(rng.integers(8, 32))), generator=seed)
            plane = F.interpolate(coarse, size=64, mode="bilinear")[0]
        else:  # single dots
            plane = (torch.rand((1, 64, 64), generator=seed) < 0.04).float() * 3
        x[i] = x[i] + plane * strength * torch.randn((3, 1, 1), generator=seed)
    return x.clamp(0, 1)


def contrastive(model, images, texts, fits):
    """CLIP's loss with several right answers per row, and answers left out."""
    logits = (model.logit_scale.exp().clamp(max=60) * texts @ images.T).masked_fill(fits < 0, -1e4)
    right = (fits > 0).float()
    rows = -(F.log_softmax(logits, 1) * right).sum(1) / right.sum(1).clamp(min=1)
    has = right.sum(0) > 0
    columns = -(F.log_softmax(logits, 0) * right).sum(0)[has] / right.sum(0)[has]
    return 0.5 * (rows[right.sum(1) > 0].mean() + columns.mean())


class Trainer:
    def __init__(self, args):
        self.args, self.state = args, Path(args.state)
        self.state.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(args.seed)
        self.rng = np.random.default_rng(args.seed)
        clip_data.build(args.data, self.state / "data", args.per_style, args.limit, progress=self.say)
        self.tokens = Tokens(tokenizer().encode, all_texts())
        self.towers = {n: Clip(**(TINY if args.tiny else TOWERS)[n], tokens=len(self.tokens)).to(args.device) for n in args.towers.split(",")}
        self.optimisers = {n: self.optimiser(m) for n, m in self.towers.items()}
        self.seen, self.seconds = 0, 0.0
        file = args.warm or (self.state / "state.pt" if args.resume or args.figures else None)
        if file:
            saved = torch.load(file, weights_only=False)
            for n, m in self.towers.items():
                m.load_state_dict(saved["towers"][n])
                if not args.warm:
                    self.optimisers[n].load_state_dict(saved["optimisers"][n])
            if not args.warm:
                self.seen, self.seconds = saved["seen"], saved["seconds"]
                self.rng.bit_generator.state = saved["rng"]
        elif (self.state / "state.pt").exists():
            sys.exit(f"{self.state}/state.pt exists: go on with --resume, or name another --state")
        self.data = Data(self.state / "data", args.negatives, self.rng)
        self.sheet()
        self.averages = {}

    def sheet(self):
        """`twins.png`: for each style, by name, six photos above their twins: what is being taught."""
        file = self.state / "twins.png"
        if file.exists():
            return
        rows = []
        for style in sorted(self.data.of_style):
            ids = self.data.of_style[style][False][:6]
            photos = [self.data.photos[self.data.twin_about[k]["photo"]] for k in ids]
            rows.append(np.concatenate([np.concatenate([p, self.data.twins[k]], 0) for p, k in zip(photos, ids)], 1))
        width = max(r.shape[1] for r in rows)
        rows = [np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0))) for r in rows]
        half = -(-len(rows) // 2)
        rows += [np.zeros_like(rows[0])] * (2 * half - len(rows))
        image = np.concatenate([np.concatenate(rows[:half], 0), np.concatenate(rows[half:], 0)], 1)
        Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2)).save(file)

    def say(self, text):
        print(time.strftime("%H:%M:%S"), text, flush=True)

    def optimiser(self, model):
        matrices = [p for n, p in model.named_parameters() if p.ndim >= 2 and "embedding" not in n]
        others = [p for n, p in model.named_parameters() if p.ndim < 2 or "embedding" in n]
        return torch.optim.AdamW([dict(params=matrices, weight_decay=0.1), dict(params=others, weight_decay=0)],
                                 lr=self.args.lr, betas=(0.9, 0.98), fused=self.args.device == "cpu")

    def save(self):
        saved = dict(towers={n: m.state_dict() for n, m in self.towers.items()},
                     optimisers={n: o.state_dict() for n, o in self.optimisers.items()},
                     seen=self.seen, seconds=self.seconds, rng=self.rng.bit_generator.state, args=vars(self.args))
        torch.save(saved, self.state / "state.tmp")
        os.replace(self.state / "state.tmp", self.state / "state.pt")

    def step(self):
        args, rng = self.args, self.rng
        progress = self.seen / args.images
        images, whats, names, per, change, half, failed = self.data.draw(args.batch, args.groups)
        pairs = [(slice(2 * g * per, (2 * g + 1) * per), slice((2 * g + 1) * per, (2 * g + 2) * per)) for g in range(args.groups)]
        first = 2 * args.groups * per
        n = len(images)
        lost = slice(n - 16, n - 8), slice(n - 8, n)
        styles_of = np.array([w[0] for w in whats])
        x = warp(images, [*pairs, lost], rng)
        x = chaff(x, np.isin(styles_of, [INDEX[s] for s in ANY_TINT]), rng).to(args.device)
        rows = np.stack([w[1] for w in whats])
        # captions for most images; failures get none
        usable = np.flatnonzero(styles_of >= 0)
        asked = rng.permutation(usable)[: int(len(usable) * 0.75)]
        made = [caption(styles_of[i], (rows[i], whats[i][2]), rng) for i in asked]
        texts = [m[0] for m in made]
        for k in np.flatnonzero(rng.random(len(texts)) < 0.04):  # a word nobody knows changes nothing
            words = texts[k].split(" ")
            words.insert(rng.integers(len(words) + 1), "\u2603")
            texts[k] = " ".join(words)
        fits = matches([m[1] for m in made], [m[2] for m in made], np.maximum(styles_of, 0), rows)
        fits[np.arange(len(asked)), asked] = 1
        if styles_of[-1] < 0:  # of a real failure one thing is known: it is not the style that was asked for
            own = {g for g in range(len(GROUPS)) if g in OWN[failed]}
            for r, m in enumerate(made):
                fits[r, lost[1]] = 0 if m[1] in own else -1
        fits = torch.from_numpy(fits).to(args.device)
        phrases = []
        templates = [TEMPLATES[k] for k in rng.choice(len(TEMPLATES), 2, replace=False)] + ["{}", "a {}"]
        plain = ["photo", "photo", "photograph"][rng.integers(3)]
        ends = [*names, failed]
        for s in ends:
            group = GROUPS[OWN[s][rng.integers(len(OWN[s]))]][0]
            word = group[0] if rng.random() < 0.5 else group[rng.integers(len(group))]
            base = ["person", "face", "photo"][rng.integers(3)] if s in ("glasses", "sunglasses") else plain
            phrases += [t.format(word) for t in templates] + [t.format(base) for t in templates]
        if change:
            phrases += [t.format(change[3][rng.integers(len(change[3]))]) for t in templates]
            phrases += [t.format(change[4][rng.integers(len(change[4]))]) for t in templates]
        tokens = self.tokens(texts + phrases).to(args.device)

        lr = args.lr * min(1, (self.seen + args.batch) / (60 * args.batch)) * (0.5 + 0.5 * math.cos(math.pi * min(1, progress)) + 0.01)
        for name, model in self.towers.items():
            if self.seen // args.batch % EVERY[name]:
                continue
            optimiser = self.optimisers[name]
            for g in optimiser.param_groups:
                g["lr"] = lr * (0.7 if name == "vit" else 1)
            delta = torch.zeros_like(x)
            for attacked in (False, True) if progress > 0.04 or args.warm else (False,):
                xin = (x + delta).requires_grad_(True)
                fi, ft = model.image(xin), model.text(tokens)
                caps, dirs = ft[: len(texts)], ft[len(texts) :].view(-1, 4, ft.shape[1]).mean(1)
                loss = contrastive(model, fi, caps, fits)
                # pairs: all photos against all twins, each style's mean taken away
                centred = lambda t: F.normalize(t - t.mean(0), dim=1)  # noqa: E731
                a, b = torch.cat([centred(fi[p]) for p, _ in pairs]), torch.cat([centred(fi[t]) for _, t in pairs])
                logits, target = a @ b.T / TAU, torch.arange(len(a), device=x.device)
                pair = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
                direction = 0
                for g, (p, t) in enumerate(pairs):
                    text = F.normalize(dirs[2 * g] - dirs[2 * g + 1], dim=0)
                    direction = direction + F.cosine_similarity(fi[t] - fi[p], text[None]).mean() / len(pairs)
                at = 2 * len(names)
                text = F.normalize(dirs[at] - dirs[at + 1], dim=0)
                wrong = F.relu(F.cosine_similarity(fi[lost[1]] - fi[lost[0]], text[None]) - 0.05).mean()
                at += 2
                shift = 0
                if change:
                    d = fi[first : first + half].mean(0) - fi[first + half : first + 2 * half].mean(0)
                    shift = 1 - F.cosine_similarity(d, dirs[at] - dirs[at + 1], dim=0)
                loss = loss + 0.5 * pair + 0.7 * (1 - direction) + 0.25 * shift + 0.5 * wrong
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                if not attacked:
                    g = xin.grad / (xin.grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1) + 1e-12)
                    reach = torch.from_numpy(rng.random((len(x), 1, 1, 1))).float().to(x) * args.attack * min(1, max(progress, 1 if args.warm else 0) / 0.3)
                    delta = g * reach
                    figures = dict(loss=loss, pair=pair, found=(logits.argmax(1) == target).float().mean(), direction=direction, shift=shift, wrong=wrong)
                    for k, v in figures.items():
                        key = f"{name}.{k}"
                        v = float(v.detach()) if torch.is_tensor(v) else float(v)
                        self.averages[key] = 0.95 * self.averages.get(key, v) + 0.05 * v
        self.seen += args.batch

    def run(self):
        args, stop = self.args, []
        for s in (signal.SIGINT, signal.SIGTERM):
            signal.signal(s, lambda *_: stop.append(1))
        began = saved = shown = time.time()
        base, steps, last = self.seconds, 0, self.seen
        for m in self.towers.values():
            m.train()
        while self.seen < args.images and not stop and time.time() - began < args.minutes * 60 and steps != args.steps:
            self.step()
            steps += 1
            now = time.time()
            self.seconds = base + now - began
            if now - shown > 20 or steps == 1:
                rate = (self.seen - last) / (now - shown)
                left = (args.images - self.seen) / max(rate, 1e-9) / 60
                self.say(f"{self.seen}/{args.images} images, {rate:.0f}/s, {left:.0f} min left, " + ", ".join(f"{k} {v:.3f}" for k, v in self.averages.items()))
                with open(self.state / "log.jsonl", "a") as log:
                    log.write(json.dumps(dict(seen=self.seen, seconds=round(self.seconds), **{k: round(v, 4) for k, v in self.averages.items()})) + "\n")
                shown, last = now, self.seen
            if self.seen // args.figures_every > (self.seen - args.batch) // args.figures_every and self.seen < args.images:
                self.measure()
            if now - saved > 180:
                self.save()
                saved = now
        self.save()
        self.say("stopped" if self.seen < args.images else "done")

    @torch.no_grad()
    def figures(self, per=48):
        """Zero-shot accuracy, directions and attributes on images that training never saw."""
        rng, out = np.random.default_rng(1), {}
        data = self.data
        phrase_set = ["photo", "sketch", "charcoal drawing", "ink drawing", "cartoon", "anime", "comic book", "ukiyo-e", "pop art", "oil painting",
                      "watercolor", "Van Gogh painting", "pixel art", "mosaic", "stained glass", "old black-and-white photograph", "sepia photo",
                      "photo negative", "neon", "marble statue", "bronze statue", "golden statue", "zombie", "smurf", "clown"]
        keys = "photo pencil charcoal ink cartoon anime comic ukiyo popart oil watercolor vangogh pixel mosaic stained bw sepia negative neon marble bronze gold zombie blue clown".split()
        load = lambda images: F.avg_pool2d(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().to(self.args.device) / 255, 2)  # noqa: E731
        for name, model in self.towers.items():
            model.eval()
            text = lambda p: F.normalize(model.text(self.tokens([t.format(p) for t in TEMPLATES]).to(self.args.device)).mean(0), dim=0)  # noqa: E731
            table = torch.stack([text(p) for p in phrase_set])
            held = [k for k, a in enumerate(data.about) if a["held"]]
            right, cosines, found = {}, {}, []
            for j, key in enumerate(keys):
                if key == "photo":
                    f = model.image(load([data.photos[k] for k in held[:200]]))
                else:
                    ids = data.of_style[key][True][: per * 2]
                    f = model.image(load([data.twins[k] for k in ids]))
                    p = model.image(load([data.photos[data.twin_about[k]["photo"]] for k in ids]))
                    cosines[key] = float(F.cosine_similarity(f - p, (table[j] - table[0])[None]).mean())
                    a, b = F.normalize(p - p.mean(0), dim=1), F.normalize(f - f.mean(0), dim=1)
                    found.append(float(((b @ a.T).argmax(1) == torch.arange(len(a), device=a.device)).float().mean()))
                right[key] = float(((f @ table.T).argmax(1) == j).float().mean())
            areas = {}
            for attribute, for_, against, words, others in CHANGES:
                scores, truth = [], []
                d = text(words[0]) - text(others[0])
                for value, y in ((for_, 1), (against, 0)):
                    ims = [data.photos[k] for k in held if data.about[k]["row"][A[attribute]] == value][:200]
                    ims += [np.repeat(np.repeat(data.small[k], 2, 0), 2, 1) for k, a in enumerate(data.small_about)
                            if a["held"] and a["source"] == "celeba" and a["row"][A[attribute]] == value][:200]
                    if ims:
                        scores.append((model.image(load(ims)) @ d).cpu().numpy())
                        truth += [y] * len(ims)
                if len(set(truth)) == 2:
                    ranks = np.concatenate(scores).argsort().argsort()
                    y = np.array(truth)
                    areas[words[0]] = float((ranks[y == 1].sum() - y.sum() * (y.sum() - 1) / 2) / (y.sum() * (len(y) - y.sum())))
            odd = ["werewolf", "bicycle", "cyborg", "origami dragon", "lava lamp", "hologram"]
            photo = text("photo")
            far = lambda ps: float(np.mean([1 - float(text(p) @ photo) for p in ps]))  # noqa: E731
            out[name] = dict(style_accuracy=float(np.mean(list(right.values()))), accuracy=right, direction_mean=float(np.mean(list(cosines.values()))),
                             directions=cosines, twin_found=float(np.mean(found)), attribute_auc=areas,
                             unknown_words=dict(distance_from_photo=far(odd), known_phrases=far(phrase_set[1:])))
            model.train()
        return out

    def measure(self):
        """Held-out figures: said, logged, and kept in `figures.json`."""
        found = self.figures()
        (self.state / "figures.json").write_text(json.dumps(found, indent=1))
        with open(self.state / "log.jsonl", "a") as log:
            log.write(json.dumps(dict(seen=self.seen, seconds=round(self.seconds), figures=found)) + "\n")
        short = lambda numbers: ", ".join(f"{k} {v:.2f}" for k, v in numbers.items())  # noqa: E731
        for name, f in found.items():
            self.say(f"{name}: styles {f['style_accuracy']:.2f} ({short(f['accuracy'])})")
            self.say(f"{name}: directions {f['direction_mean']:.2f} ({short(f['directions'])})")
            self.say(f"{name}: twins found {f['twin_found']:.2f}, attributes {short(f['attribute_auc'])}, {short(f['unknown_words'])}")

    def export(self, folder):
        """`clip_NAME.safetensors`: float16, OpenAI's names, the token table in its narrow form."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, model in self.towers.items():
            tensors = {k: v.detach().clone() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
            table = tensors.pop("token_embedding.weight")
            tensors = {k: v.half().contiguous() for k, v in tensors.items()}
            tensors["token_embedding.ids"] = torch.tensor(self.tokens.ids, dtype=torch.int32)
            tensors["token_embedding.rows"] = table[1:].half().contiguous()
            tensors["token_embedding.other"] = table[0].half().contiguous()
            metadata = {"nada.vocabulary": " ".join(words_of(all_texts())), "nada.phrases": phrase_list(),
                        "nada.recipe": json.dumps(dict(script="scripts/train/clip.py", images=self.seen, minutes=round(self.seconds / 60), seed=self.args.seed))}
            save_file(tensors, folder / f"clip_{name}.tmp", metadata)
            os.replace(folder / f"clip_{name}.tmp", folder / f"clip_{name}.safetensors")
            self.say(f"wrote {folder}/clip_{name}.safetensors")


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    trainer = Trainer(args)
    if not args.figures:
        trainer.run()
    if args.figures or trainer.seen >= args.images:
        trainer.measure()
    if args.export:
        trainer.export(args.export)


if __name__ == "__main__":
    main()
