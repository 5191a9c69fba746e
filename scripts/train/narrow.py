#!/usr/bin/env python3
"""Shrinks the first set's CLIPs (../shared/models) to what they have read: 16.6 MB become 4.

    narrow.py A.safetensors B.safetensors OUT_DIR

Their token tables have 49,408 rows, of which training moved some 750; the others still have the length of their random
start (0.02 times the root of the width, within 6 %). The moved rows are kept, and one row, the mean of the others, stands
for all words never read: near zero, where the full table had noise. Words and phrases are added as metadata.
"""

import re
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bpe import Bpe

# The synonym groups that the first set was trained with (recipes/clip/text.py).
PHRASES = """photo=photograph=real photo=realistic photo=photorealistic image=colour photo=portrait photo|sketch=hand-drawn sketch=rough sketch|\
pencil sketch=pencil drawing=graphite drawing|drawing=black and white drawing=hand drawing|charcoal drawing=charcoal sketch=charcoal|\
ink drawing=pen and ink drawing=line drawing=line art=ink sketch=outline drawing|cartoon=animated cartoon=toon=cel shaded cartoon|\
Pixar=3D render in the style of Pixar=Disney character=Pixar character=animated movie character|painting=art painting=fine art painting|\
oil painting=oil on canvas=painting in oil|watercolor painting=watercolour=watercolor=aquarelle|\
Van Gogh painting=painting by Vincent van Gogh=Starry Night painting=post-impressionist painting|\
pixel art=8-bit pixel art=pixelated image=retro video game graphics|mosaic=tile mosaic=mosaic tiles|stained glass=stained glass window|\
pop art=Andy Warhol print=pop art print|comic book=halftone print=comic book halftone=newspaper print|\
black and white photo=grayscale photo=monochrome photo|sepia photo=old photograph=vintage photo=19th century photograph|\
neon=neon lights=glowing neon lines=cyberpunk neon|photo negative=inverted colors=negative|ukiyo-e=ukiyo-e woodblock print=Japanese woodblock print|\
marble statue=stone sculpture=white marble bust=plaster statue|statue=sculpture|bronze statue=bronze sculpture=copper statue|\
golden statue=gold statue=gold|zombie=green zombie=undead zombie|blue alien=Avatar Na'vi=smurf=blue skin|clown=circus clown=joker clown|\
anime=anime drawing=manga=anime face|3D render=3D emoji|flat icon=flat vector art=flat design|black silhouette icon=glyph icon|emoji=cartoon emoji"""


def main():
    *files, out = sys.argv[1:]
    tables = [safe_open(f, "pt").get_tensor("token_embedding.weight").float() for f in files]
    start = 0.02 * tables[0].shape[1] ** 0.5
    moved = torch.stack([t.norm(dim=1) > 1.28 * start for t in tables]).any(0)
    moved[-2:] = True  # the start and end tokens
    ids = moved.nonzero().flatten()
    bpe = Bpe(Path(__file__).resolve().parents[2] / "checkpoints/bpe_simple_vocab_16e6.txt.gz")
    names = {i: n for n, i in bpe.ids.items()}
    read = {names[i][:-4] for i in ids.tolist() if names.get(i, "").endswith("</w>")}
    read = {w for w in read if re.fullmatch(r"[a-z0-9]{2,}", w)} | set(re.findall(r"[a-z0-9][a-z0-9'\-]*", PHRASES.lower()))
    for file, table in zip(files, tables):
        stored = safe_open(file, "pt")
        tensors = {k: stored.get_tensor(k) for k in stored.keys() if k != "token_embedding.weight" and not k.endswith("num_batches_tracked")}
        tensors["token_embedding.ids"] = ids.int()
        tensors["token_embedding.rows"] = table[ids].half()
        tensors["token_embedding.other"] = table[~moved].mean(0).half()
        name = Path(file).name.replace("clip_rn_", "clip_first_")
        save_file(tensors, Path(out) / name, {"nada.vocabulary": " ".join(sorted(read)), "nada.phrases": PHRASES})
        print(Path(out) / name, len(ids), "tokens,", len(read), "words")


if __name__ == "__main__":
    main()
