"""Where the square of FFHQ lies in the photos that an encoder is trained on; prints it as JSON.

    framing.py --data PHOTOS [--count 500]

Needs facenet-pytorch, for MTCNN's landmarks. `frame` is what `encoder.py --frame` takes: centre x, centre y and side of
the square in units of the photo's side, averaged over the photos, since all of them are aligned alike.
"""

import argparse
import io
import json
import math

import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image

import faces_data

MARGIN, ENLARGED = 0.25, 3
"""Aligned photos are cut closely: so much is added on each side, then they are enlarged, or MTCNN finds few faces."""


def landmarks(detector, picture):
    """The five points of the face in the middle of a photo, in units of its side; none if it is not found."""
    side = picture.shape[0]
    margin = round(side * MARGIN)
    padded = np.pad(picture, [(margin, margin), (margin, margin), (0, 0)], mode="edge")
    size = padded.shape[0] * ENLARGED
    boxes, _, points = detector.detect(Image.fromarray(padded).resize((size, size), Image.Resampling.BICUBIC), True)
    if boxes is None:
        return None
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = np.abs(centres - size / 2).sum(1).argmin()
    return (np.asarray(points[nearest], float) / ENLARGED - margin) / side


def square(points):
    """Centre x, centre y, side and angle in degrees of FFHQ's square (`Landmarks::quad` in src/invert/align.rs)."""
    eye_left, eye_right, _, mouth_left, mouth_right = points
    eyes, mouth = (eye_left + eye_right) / 2, (mouth_left + mouth_right) / 2
    eye_to_eye, eye_to_mouth = eye_right - eye_left, mouth - eyes
    across = eye_to_eye + np.array([eye_to_mouth[1], -eye_to_mouth[0]])
    half = max(2.0 * np.hypot(*eye_to_eye), 1.8 * np.hypot(*eye_to_mouth))
    centre = eyes + 0.1 * eye_to_mouth
    return *centre, 2 * half, math.degrees(math.atan2(across[1], across[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder or zip of aligned photos")
    parser.add_argument("--count", type=int, default=500, help="photos to look at, evenly spaced")
    args = parser.parse_args()
    torch.set_num_threads(1)
    source = faces_data.Source(args.data)
    ages = source.ages()
    names = [name for name in source.names if name.lower().endswith(faces_data.PICTURES)]
    detector = MTCNN(keep_all=True)
    squares, looked, missed = [], 0, 0
    for index in np.linspace(0, len(names) - 1, args.count).round().astype(int):
        picture = np.asarray(Image.open(io.BytesIO(source.read(names[index]))).convert("RGB"))
        if faces_data.fault(picture, ages.get(names[index])):
            continue
        looked += 1
        points = landmarks(detector, picture)
        if points is None:
            missed += 1
        else:
            squares.append(square(points))
    squares = np.array(squares)
    # The median: a few photos show a second face, or a face in profile.
    middle, spread = np.median(squares, 0), squares.std(0)
    quartiles = np.subtract(*np.percentile(squares, [75, 25], axis=0))
    facts = {"frame": " ".join(f"{value:.3f}" for value in middle[:3]), "photos": looked, "missed": missed}
    for i, name in enumerate(("x", "y", "side", "angle")):
        facts[name] = {"median": middle[i], "deviation": spread[i], "quartiles": quartiles[i]}
    print(json.dumps(facts, indent=1, default=lambda value: round(float(value), 4)))


if __name__ == "__main__":
    main()
