#!/usr/bin/env bash
# One short training of each script: from made-up photos to a file that `nada` reads, interrupted and resumed between.
# Needs no data and no downloads but Python's packages (requirements.txt), which are kept in the user's cache.
. "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"

here=$repo/scripts/train
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The environment: $NADA_TRAIN_PYTHON, or one of our own, made once per list of packages.
python=${NADA_TRAIN_PYTHON:-}
[ -n "$python" ] || python=$(python_env train scripts/train/requirements.txt)

"$python" - "$work/data" <<'EOF'
import json, sys
from pathlib import Path
import numpy as np
from PIL import Image, ImageDraw

rng = np.random.default_rng(0)
for name, side, count in (("utkface_128", 128, 96), ("celeba30k_64", 64, 48), ("pacs_64", 64, 32)):
    folder = Path(sys.argv[1]) / name
    folder.mkdir(parents=True)
    with open(folder / "captions.jsonl", "w") as lines:
        for i in range(count):
            ground, skin, hair = (tuple(int(v) for v in rng.integers(40, 230, 3)) for _ in range(3))
            image = Image.new("RGB", (side, side), ground)
            draw = ImageDraw.Draw(image)
            at = lambda *box: [v * side / 128 for v in box]
            draw.ellipse(at(18, 8, 110, 126), fill=hair)
            draw.ellipse(at(26, 22, 102, 124), fill=skin)
            for x in (43, 85):
                draw.ellipse(at(x - 8, 46, x + 8, 56), fill="white")
                draw.ellipse(at(x - 4, 47, x + 4, 55), fill="black")
            draw.ellipse(at(50, 92, 78, 104), fill=(160, 30, 40))
            noisy = np.asarray(image).astype(int) + rng.integers(-12, 13, (side, side, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:06d}.webp")
            row = dict(file=f"{i:06d}.webp", domain="photo", caption="a face", src=f"{i}.jpg")
            row |= dict(age=int(rng.integers(10, 90)), gender=i % 2, race=i % 4)
            row |= dict(bits="".join(str(b) for b in rng.integers(0, 2, 5)))
            row |= dict(label=["dog", "person"][i % 2]) if name == "pacs_64" else {}
            row |= dict(domain=["photo", "art_painting", "cartoon", "sketch"][i % 4]) if name == "pacs_64" else {}
            lines.write(json.dumps(row) + "\n")
EOF

expect() {
    local file=$1 words=$2
    "$repo/target/release/nada" inspect "$file" >"$work/said" || fail "\`nada inspect $file\` failed"
    grep -q "$words" "$work/said" || fail "\`nada inspect $file\` does not say '$words': $(cat "$work/said")"
}

# Whether two files hold the same tensors (the order of the metadata is chance).
same() {
    "$python" -c 'import sys; from safetensors.numpy import load_file as f; a, b = map(f, sys.argv[1:])
sys.exit(a.keys() != b.keys() or any((a[k] != b[k]).any() for k in a))' "$1" "$2"
}

train() {
    "$python" -W error::RuntimeWarning "$here/$1.py" "${@:2}" >"$work/log" 2>&1 || fail "$1.py ${*:2}: $(tail -20 "$work/log")"
}

say "one short training of the CLIPs"
clip=(--data "$work/data" --state "$work/clip" --tiny --per-style 12 --batch 96)
train clip "${clip[@]}" --images 192 --steps 1
train clip "${clip[@]}" --images 192 --resume --export "$work/models"
cp -r "$work/clip" "$work/straight" && rm "$work/straight/state.pt"
train clip "${clip[@]}" --images 192 --state "$work/straight" --export "$work/again"
for tower in rn vit; do
    expect "$work/models/clip_$tower.safetensors" CLIP
    same "$work/models/clip_$tower.safetensors" "$work/again/clip_$tower.safetensors" || fail "clip_$tower of a resumed training differs from an uninterrupted one"
done

say "one short training of the faces"
faces=(--data "$work/data/utkface_128" --state "$work/faces" --tiny --batch 4 --backbone random)
train faces "${faces[@]}" --images 8
train faces "${faces[@]}" --resume --images 16 --export "$work/models/faces.safetensors"
expect "$work/models/faces.safetensors" StyleGAN2

say "one short training of the encoder"
encoder=(--data "$work/data/utkface_128" --generator "$work/models/faces.safetensors" --tiny --batch 4 --backbone random)
train encoder "${encoder[@]}" --state "$work/encoder" --images 48 --minutes 0.0001
train encoder "${encoder[@]}" --state "$work/encoder" --images 48 --resume --export "$work/models/encoder.safetensors" --frame "0.5 0.3 1.6"
train encoder "${encoder[@]}" --state "$work/whole" --images 48 --export "$work/again/encoder.safetensors"
same "$work/models/encoder.safetensors" "$work/again/encoder.safetensors" || fail "the encoder of a resumed training differs from an uninterrupted one"
expect "$work/models/encoder.safetensors" "an image encoder"
train faces "${faces[@]}" --resume --images 24 --export "$work/models/newer.safetensors"
train encoder "${encoder[@]}" --state "$work/encoder" --generator "$work/models/newer.safetensors" --resume --images 96
train encoder "${encoder[@]}" --state "$work/single" --rounds 1 --images 16
train encoder "${encoder[@]}" --state "$work/whole" --report --beside "$work/single"
grep -q 1\ round "$work/whole/figures.md" || fail "the report does not show the training beside it"

say "the training scripts work"
