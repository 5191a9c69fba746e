"""Sheets and tables that show how a training went."""

import numpy as np
import torch
from PIL import Image, ImageDraw

import faces_data
import frechet
import training


def samples(trainer, path):
    """A sheet of the same faces at three truncations."""
    rows = []
    for psi in (0.5, 0.7, 1.0):
        pictures = torch.cat(list(trainer.samples(24, psi, seed=42, batch=12)))
        rows.append((f"psi {psi}, {trainer.images} images", faces_data.to_pixels(pictures)))
    training.sheet(path, rows, columns=12)


def neighbours(trainer, photos, known, path):
    """Sixteen faces at ψ 1, each with the three training photos nearest to it in feature space."""
    fakes = torch.cat(list(trainer.samples(16, seed=42)))
    found = torch.cdist(frechet.features(trainer.backbone, [fakes]), known).topk(3, largest=False).indices
    fakes = faces_data.to_pixels(fakes)
    lines = np.concatenate([fakes[:, None], photos[found.numpy()]], 1).reshape(-1, *fakes.shape[1:])
    training.sheet(path, [("each face, then the three training photos nearest to it", lines)], columns=8)


COLUMNS = ("images", "minutes", "frechet", "floor", "diversity", "diversity_07", "precision", "recall")


def history(rows, folder):
    """The figures over time: a table and a plot of the Fréchet distance."""
    cells = [COLUMNS, ["---:"] * len(COLUMNS)]
    cells += [[f"{row['images']:,}", *(f"{row[name]:.4g}" for name in COLUMNS[1:])] for row in rows]
    (folder / "figures.md").write_text("".join(f"| {' | '.join(line)} |\n" for line in cells))
    width, height, margin = 640, 360, 50
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    right = max(row["images"] for row in rows) or 1
    top = 1.1 * max(row["frechet"] for row in rows)

    def place(images, value):
        x = margin + images / right * (width - 2 * margin)
        return x, height - margin - value / top * (height - 2 * margin)

    draw.line([place(0, top), place(0, 0), place(right, 0)], fill="black")
    floor = rows[-1]["floor"]
    draw.line([place(0, floor), place(right, floor)], fill="grey")
    draw.text(place(0, floor), f" photos {floor:.1f}", fill="grey")
    points = [place(row["images"], row["frechet"]) for row in rows]
    draw.line(points, fill="blue", width=2)
    for row, point in zip(rows, points):
        draw.text(point, f"{row['frechet']:.1f}", fill="blue")
    draw.text((margin, 10), "Fréchet distance to held-out photos, over images seen", fill="black")
    draw.text(place(right, 0), f"{right // 1000}k", fill="black")
    training.write_atomically(folder / "figures.png", lambda temporary: image.save(temporary, "PNG"))
