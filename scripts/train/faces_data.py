"""The photos: which are fit for training, which are held out, and a cache of their pixels."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

PICTURES = (".webp", ".png", ".jpg", ".jpeg")
HELD_OUT = 0.2
"""Share of the photos kept from training, for the Fréchet distance."""

MIN_AGE = 4
"""Younger children look much alike; they would be a fifth of the photos."""


class Source:
    """The files of a folder or of a zip archive."""

    def __init__(self, path):
        self.path = Path(path)
        self.archive = None if self.path.is_dir() else zipfile.ZipFile(self.path)
        if self.archive:
            names = self.archive.namelist()
        else:
            names = [str(file.relative_to(self.path)) for file in self.path.rglob("*") if file.is_file()]
        self.names = sorted(names)

    def read(self, name):
        return self.archive.read(name) if self.archive else (self.path / name).read_bytes()

    def ages(self):
        """Age by file name, where the source has a captions.jsonl that tells it."""
        ages = {}
        for name in self.names:
            if Path(name).name == "captions.jsonl":
                for line in self.read(name).decode().splitlines():
                    row = json.loads(line)
                    ages[row["file"]] = row.get("age")
        return ages


def fingerprint(picture):
    """A hash that copies of one photo share, even if compressed or scaled differently: signs of 64 differences."""
    grey = np.asarray(Image.fromarray(picture).convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes()


def fault(picture, age):
    """Why a photo is unfit for training, or nothing."""
    corners = [picture[:6, :6], picture[:6, -6:], picture[-6:, :6], picture[-6:, -6:]]
    if min(corner.mean() for corner in corners) < 4:
        return "black corner"
    spread = picture.max(2).astype(int) - picture.min(2)
    if spread.mean() < 10:
        return "grey"
    if age is not None and age < MIN_AGE:
        return "young child"
    return None


def is_held_out(name):
    """Whether a photo is kept from training: by its name alone, so that the choice never moves."""
    return hashlib.sha256(Path(name).name.encode()).digest()[0] < HELD_OUT * 256


def load(path, side, cache):
    """Training and held-out photos as uint8 arrays (count, side, side, 3), and a count of what was left out.

    `cache` keeps them for the next time, whatever becomes of `path`.
    """
    cache = Path(cache)
    meta = cache.with_suffix(".json")
    if cache.exists() and meta.exists():
        facts = json.loads(meta.read_text())
        pictures = np.load(cache)
        return pictures[: facts["train"]], pictures[facts["train"] :], facts
    source = Source(path)
    ages = source.ages()
    train, held_out, left_out, seen = [], [], {}, set()
    for name in source.names:
        if not name.lower().endswith(PICTURES):
            continue
        image = Image.open(io.BytesIO(source.read(name))).convert("RGB")
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.LANCZOS)
        picture = np.asarray(image)
        mark = fingerprint(picture)
        reason = "copy" if mark in seen else fault(picture, ages.get(Path(name).name))
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        seen.add(mark)
        (held_out if is_held_out(name) else train).append(picture)
    if not train or not held_out:
        raise SystemExit(f"{path}: {len(train)} photos to train on, {len(held_out)} to hold out: too few")
    facts = {"train": len(train), "held_out": len(held_out), "left_out": left_out}
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.save(cache, np.stack(train + held_out))
    meta.write_text(json.dumps(facts))
    return np.stack(train), np.stack(held_out), facts


def to_tensor(pictures, device="cpu"):
    """Pictures in [-1, 1], channels first, of uint8 arrays."""
    tensor = torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
    return tensor.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(tensor):
    """The uint8 arrays of pictures in [-1, 1]."""
    return ((tensor.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


class Order:
    """Endless shuffled passes over the photos, determined by the seed: a step's batch needs no memory of the last."""

    def __init__(self, count, batch, seed):
        self.count, self.batch, self.seed = count, batch, seed
        self.epoch, self.shuffled = None, None

    def indices(self, step):
        """Indices of a step's photos and which of them to mirror."""
        places = np.arange(step * self.batch, (step + 1) * self.batch)
        chosen = np.array([self.at(*divmod(int(place), self.count)) for place in places])
        mirrored = np.random.default_rng((self.seed, 1, step)).random(self.batch) < 0.5
        return chosen, mirrored

    def at(self, epoch, place):
        if epoch != self.epoch:
            self.shuffled = np.random.default_rng((self.seed, 0, epoch)).permutation(self.count)
            self.epoch = epoch
        return self.shuffled[place]
