"""What facenet-pytorch's MTCNN finds in public-domain photographs, and its weights as safetensors.

    pip install torch==2.11.0 torchvision==0.26.0 facenet-pytorch==2.6.0 safetensors pillow
    pip download --no-deps scikit-image && unzip -j scikit_image*.whl skimage/data/astronaut.png
    python make.py astronaut.png ../../../checkpoints/mtcnn.safetensors

The photograph is NASA's portrait of Eileen Collins, in the public domain. `group.png` shows it twice more, smaller and
turned: several faces in one picture, and one that only part of the network sees as a face.
"""

import json
import sys
from pathlib import Path

import torch
from facenet_pytorch import MTCNN
from PIL import Image
from safetensors.torch import save_file

HERE = Path(__file__).parent


def main():
    photo = Image.open(sys.argv[1]).convert("RGB")
    photo.resize((320, 320), Image.LANCZOS).save(HERE / "portrait.png")
    group = Image.new("RGB", (480, 256), (90, 110, 100))
    group.paste(photo.resize((256, 256), Image.LANCZOS), (0, 0))
    small = photo.crop((120, 0, 330, 240)).resize((105, 120), Image.LANCZOS)
    group.paste(small, (270, 20))
    group.paste(small.rotate(25, Image.BICUBIC, expand=True).resize((110, 110), Image.LANCZOS), (360, 130))
    group.save(HERE / "group.png")
    detector = MTCNN(keep_all=True, min_face_size=20, post_process=False)
    found = {}
    for name in ("portrait", "group"):
        boxes, scores, points = detector.detect(Image.open(HERE / f"{name}.png"), landmarks=True)
        found[name] = [
            {"bounds": b.tolist(), "score": float(s), "points": p.tolist()} for b, s, p in zip(boxes, scores, points)
        ]
    (HERE / "faces.json").write_text(json.dumps(found, indent=1) + "\n")
    if len(sys.argv) > 2:
        weights = {}
        for net in ("pnet", "rnet", "onet"):
            for name, value in getattr(detector, net).state_dict().items():
                weights[f"{net}.{name}"] = value.contiguous()
        origin = {"source": "facenet-pytorch 2.6.0 (timesler, MIT), networks of MTCNN (Zhang et al. 2016)"}
        save_file(weights, sys.argv[2], origin)


main()
