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
    cells = [[f"{row['images']:,}", *(f"{row[name]:.4g}" for name in COLUMNS[1:])] for row in rows]
    table(folder / "figures.md", COLUMNS, cells)
    points = [(row["images"], row["frechet"]) for row in rows]
    levels = [("photos", rows[-1]["floor"])]
    title = "Fréchet distance to held-out photos, over images seen"
    plot(folder / "figures.png", title, [("", "blue", points)], levels)


def table(path, columns, cells):
    """Writes a table of texts, in Markdown."""
    lines = [columns, ["---:"] * len(columns), *cells]
    path.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


def plot(path, title, curves, levels):
    """Draws curves over images seen, (label, colour, points) each, and horizontal lines, (label, value) each."""
    width, height, margin = 640, 360, 50
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    right = max(x for _, _, points in curves for x, _ in points) or 1
    top = 1.1 * max([y for _, _, points in curves for _, y in points] + [value for _, value in levels])

    def place(images, value):
        x = margin + images / right * (width - 2 * margin)
        return x, height - margin - value / top * (height - 2 * margin)

    draw.line([place(0, top), place(0, 0), place(right, 0)], fill="black")
    for label, value in levels:
        draw.line([place(0, value), place(right, value)], fill="grey")
        draw.text(place(0, value), f" {label} {value:.3g}", fill="grey")
    for label, colour, points in curves:
        places = [place(*point) for point in points]
        draw.line(places, fill=colour, width=2)
        for (_, value), at in zip(points, places):
            draw.text(at, f"{value:.3g}", fill=colour)
        draw.text((places[-1][0], places[-1][1] - 12), label, fill=colour)
    draw.text((margin, 10), title, fill="black")
    draw.text(place(right, 0), f"{right // 1000}k", fill="black")
    training.write_atomically(path, lambda temporary: image.save(temporary, "PNG"))
