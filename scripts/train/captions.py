"""What the small CLIPs read: phrases for every style, words for every face, and which caption fits which image.

A caption fits an image (1), does not (0), or nobody can tell (-1: the pair is left out of the loss). "A painting" fits
an oil painting; whether a PACS cartoon is "a comic" nobody can tell; "a smiling woman" does not fit a man.
"""

import re

import numpy as np

# The 79 templates of CLIP's ImageNet prompts that StyleGAN-NADA averages over, in their order.
TEMPLATES = """a bad photo of a {}.|a sculpture of a {}.|a photo of the hard to see {}.|a low resolution photo of the {}.|\
a rendering of a {}.|graffiti of a {}.|a bad photo of the {}.|a cropped photo of the {}.|a tattoo of a {}.|\
the embroidered {}.|a photo of a hard to see {}.|a bright photo of a {}.|a photo of a clean {}.|a photo of a dirty {}.|\
a dark photo of the {}.|a drawing of a {}.|a photo of my {}.|the plastic {}.|a photo of the cool {}.|\
a close-up photo of a {}.|a black and white photo of the {}.|a painting of the {}.|a painting of a {}.|\
a pixelated photo of the {}.|a sculpture of the {}.|a bright photo of the {}.|a cropped photo of a {}.|a plastic {}.|\
a photo of the dirty {}.|a jpeg corrupted photo of a {}.|a blurry photo of the {}.|a photo of the {}.|\
a good photo of the {}.|a rendering of the {}.|a {} in a video game.|a photo of one {}.|a doodle of a {}.|\
a close-up photo of the {}.|a photo of a {}.|the origami {}.|the {} in a video game.|a sketch of a {}.|\
a doodle of the {}.|a origami {}.|a low resolution photo of a {}.|the toy {}.|a rendition of the {}.|\
a photo of the clean {}.|a photo of a large {}.|a rendition of a {}.|a photo of a nice {}.|a photo of a weird {}.|\
a blurry photo of a {}.|a cartoon {}.|art of a {}.|a sketch of the {}.|a embroidered {}.|a pixelated photo of a {}.|\
itap of the {}.|a jpeg corrupted photo of the {}.|a good photo of a {}.|a plushie {}.|a photo of the nice {}.|\
a photo of the small {}.|a photo of the weird {}.|the cartoon {}.|art of the {}.|a drawing of the {}.|\
a photo of the large {}.|a black and white photo of a {}.|the plushie {}.|a dark photo of a {}.|itap of a {}.|\
graffiti of the {}.|a toy {}.|itap of my {}.|a photo of a cool {}.|a photo of a small {}.|a tattoo of the {}.""".split("|")

# Phrases (the first is the plain name) | styles they fit | styles that can't be told.
_GROUPS = """
photo=photograph=real photo=realistic photo=photorealistic image=colour photo=color photo=portrait photo | photo glasses sunglasses | bw sepia
sketch=hand-drawn sketch=rough sketch=sketch drawing | pencil psketch hed | charcoal ink
pencil sketch=pencil drawing=graphite drawing | pencil hed | psketch charcoal
drawing=hand drawing=black and white drawing | pencil charcoal ink psketch hed | cartoon pcartoon anime comic ukiyo
charcoal drawing=charcoal sketch=charcoal=charcoal portrait | charcoal | pencil psketch hed
ink drawing=pen and ink drawing=line drawing=line art=ink sketch=outline drawing | ink | psketch pencil comic
cartoon=animated cartoon=toon=cel shaded cartoon=cartoon character=cartoon drawing | cartoon pcartoon | em3d comic anime popart
anime=anime drawing=manga=anime face=anime character=Japanese animation | anime | cartoon pcartoon
comic book=comic=comic strip=comic book halftone=graphic novel=halftone print | comic | popart cartoon pcartoon ink ukiyo
ukiyo-e=ukiyo-e woodblock print=Japanese woodblock print=woodblock print | ukiyo | wave
pop art=Andy Warhol print=pop art print=pop art portrait=silkscreen print | popart | comic
painting=art painting=fine art painting=painted portrait | oil watercolor vangogh ppaint muse scream udnie wave | ukiyo
oil painting=oil on canvas=painting in oil=Rembrandt painting=classical oil painting | oil | ppaint vangogh muse scream udnie wave
watercolor painting=watercolour painting=watercolor=watercolour=aquarelle | watercolor | ppaint
Van Gogh painting=painting by Vincent van Gogh=Starry Night painting=post-impressionist painting=impressionist painting | vangogh | ppaint scream
expressionist painting=The Scream by Edvard Munch=Edvard Munch painting | scream | ppaint muse udnie wave vangogh
cubist painting=abstract painting=modern art | udnie muse | ppaint scream wave vangogh
pixel art=8-bit pixel art=pixelated image=retro video game graphics=8-bit game character=pixelated | pixel |
mosaic=tile mosaic=mosaic tiles=Roman mosaic=mosaic portrait | mosaic |
stained glass=stained glass window | stained |
black and white photo=grayscale photo=monochrome photo=black-and-white photograph=old black-and-white photograph=old black and white photo | bw |
old photograph=old photo=vintage photo=19th century photograph | bw sepia |
sepia photo=sepia photograph=sepia tone | sepia |
photo negative=inverted colors=negative | negative |
neon=neon lights=glowing neon lines=cyberpunk neon=neon sign=neon portrait | neon |
statue=sculpture=bust | marble bronze gold |
marble statue=marble sculpture=white marble bust=stone sculpture=stone statue=plaster statue=marble bust=Greek statue | marble |
bronze statue=bronze sculpture=bronze bust=copper statue | bronze | gold
golden statue=gold statue=gold=gold sculpture=golden sculpture | gold | bronze
zombie=green zombie=undead zombie=zombie face=green skin=undead | zombie |
smurf=blue skin=blue alien=Avatar Na'vi=Na'vi=alien with blue skin | blue |
clown=circus clown=joker clown=clown makeup=clown face | clown |
person with glasses=face with glasses=person wearing glasses=wearing eyeglasses=person with spectacles=glasses | glasses | photo sunglasses
person with sunglasses=face with sunglasses=wearing sunglasses=sunglasses=dark glasses | sunglasses | photo glasses
3D render=3D emoji=3D character=emoji | em3d |
"""

STYLES = ("photo pencil charcoal ink cartoon anime comic ukiyo popart oil watercolor vangogh pixel mosaic stained bw sepia negative neon "
          "marble bronze gold zombie blue clown glasses sunglasses psketch pcartoon ppaint hed muse scream udnie wave em3d").split()
INDEX = {style: i for i, style in enumerate(STYLES)}


def _groups():
    groups = []
    for line in _GROUPS.strip().splitlines():
        names, fits, unsure = (part.strip() for part in line.split("|"))
        groups.append((names.split("="), fits.split(), unsure.split()))
    return groups


GROUPS = _groups()
FITS = np.zeros((len(GROUPS), len(STYLES)), np.int8)
for _i, (_, _fits, _unsure) in enumerate(GROUPS):
    FITS[_i, [INDEX[s] for s in _fits]] = 1
    FITS[_i, [INDEX[s] for s in _unsure]] = -1
OF_STYLE = [np.flatnonzero(FITS[:, s] == 1) for s in range(len(STYLES))]
# For a direction from a photo, the phrase must name the style itself, not only a family it belongs to.
OWN = {s: [g for g in OF_STYLE[INDEX[s]] if (FITS[g] == 1).sum() <= 2 or len(OF_STYLE[INDEX[s]]) == 1] or list(OF_STYLE[INDEX[s]]) for s in STYLES}
OWN["pencil"] = OWN["hed"] = [1, 2]
for _s in ("glasses", "sunglasses"):
    OWN[_s] = [g for g in OF_STYLE[INDEX[_s]] if "photo" not in GROUPS[g][0]]

# What is known of a face; -1 = unknown. `label` is a hash of what is shown when it is no face.
ATTRIBUTES = "face gender age race glasses smile bangs beard young label".split()
A = {name: i for i, name in enumerate(ATTRIBUTES)}
NOUNS = [["man", "man", "guy", "male"], ["woman", "woman", "lady", "female"]]
AGES = [["baby"], ["child", "kid"], ["young"], ["middle aged", "adult"], ["old", "elderly", "wrinkled"]]
RACES = ["white", "black", "asian", "indian"]
# Attribute directions: name, value against, words for, words against.
CHANGES = [
    ("smile", 1, 0, ["smiling face", "smiling person", "happy face", "smile", "smiling"], ["face", "person", "serious face", "neutral face"]),
    ("age", 4, 2, ["old person", "elderly person", "old face", "old", "wrinkled old person"], ["person", "face", "young person", "adult"]),
    ("age", 1, 2, ["child", "kid", "face of a child"], ["adult", "person", "face"]),
    ("gender", 1, 0, ["woman", "female face", "lady"], ["man", "male face", "guy"]),
    ("glasses", 1, 0, ["person with glasses", "face with glasses", "wearing eyeglasses"], ["person", "face"]),
    ("beard", 1, 0, ["person with a beard", "man with a beard", "bearded man"], ["person", "man"]),
    ("bangs", 1, 0, ["person with bangs", "face with a fringe"], ["person", "face"]),
]


def article(words):
    return "an" if words[0].lower() in "aeiou" else "a"


def content(about, rng):
    """Words for what an image shows, and the attributes that they state. `about`: the attribute row of the image, and its label."""
    row, label = about
    state = np.full(len(ATTRIBUTES), -1, np.int64)
    if row[A["face"]] != 1:
        state[A["label"]] = row[A["label"]]
        return label, state
    state[A["face"]] = 1
    if rng.random() < 0.25:
        return ["person", "face", "human", "human face", "portrait"][rng.integers(5)], state
    noun, before, after = ["person", "face"][rng.integers(2)], [], []
    if row[A["gender"]] >= 0 and rng.random() < 0.85:
        state[A["gender"]] = row[A["gender"]]
        noun = NOUNS[row[A["gender"]]][rng.integers(4)]
    if row[A["age"]] >= 0 and rng.random() < 0.5:
        age = state[A["age"]] = row[A["age"]]
        word = AGES[age][rng.integers(len(AGES[age]))]
        if age < 2:
            noun, state[A["gender"]] = word, -1
        else:
            before.append(word)
    elif row[A["young"]] >= 0 and rng.random() < 0.3:
        state[A["young"]] = row[A["young"]]
        before.append("young" if row[A["young"]] else "older")
    if 0 <= row[A["race"]] < 4 and rng.random() < 0.3:
        state[A["race"]] = row[A["race"]]
        before.append(RACES[row[A["race"]]])
    if row[A["smile"]] == 1 and rng.random() < 0.5:
        state[A["smile"]] = 1
        before.insert(0, ["smiling", "happy"][rng.integers(2)])
    elif row[A["smile"]] == 0 and rng.random() < 0.15:
        state[A["smile"]] = 0
        before.insert(0, "serious")
    for name, words in (("glasses", ["with glasses", "wearing eyeglasses"]), ("bangs", ["with bangs", "with a fringe"]), ("beard", ["with a beard", "with facial hair"])):
        if row[A[name]] == 1 and rng.random() < 0.7:
            state[A[name]] = 1
            after.append(words[rng.integers(2)])
    return " ".join([*before, noun, *after[:2]]), state


def caption(style, about, rng):
    """One caption that fits an image: text, its group (-1: no style stated), the attributes that it states."""
    group = OF_STYLE[style][rng.integers(len(OF_STYLE[style]))]
    names = GROUPS[group][0]
    word = names[0] if rng.random() < 0.4 else names[rng.integers(len(names))]
    nothing, chance = np.full(len(ATTRIBUTES), -1, np.int64), rng.random()
    if chance < 0.12:
        return word, group, nothing
    if chance < 0.18:
        return f"{article(word)} {word}", group, nothing
    if chance < 0.42:
        return TEMPLATES[rng.integers(len(TEMPLATES))].format(word), group, nothing
    shown, state = content(about, rng)
    if chance < 0.54:
        return [shown, f"{article(shown)} {shown}", TEMPLATES[rng.integers(len(TEMPLATES))].format(shown)][rng.integers(3)], -1, state
    of = f"{article(word)} {word} of {article(shown)} {shown}"
    return [of, of, f"{word} of {article(shown)} {shown}", f"{article(shown)} {shown} in the style of {word}", f"{shown}, {word}",
            f"{article(word)} {word}, {shown}", f"{word} {shown}"][rng.integers(7)], group, state


def matches(groups, states, styles, rows):
    """`[captions, images]`: 1 fits, 0 does not, -1 nobody can tell."""
    groups, states = np.array(groups), np.stack(states)
    by_style = np.where(groups[:, None] >= 0, FITS[np.maximum(groups, 0)][:, styles], 1)
    stated, known = states[:, None] != -1, rows[None] != -1
    differs = (stated & known & (states[:, None] != rows[None])).any(-1)
    unsure = (stated & ~known).any(-1)
    return np.where((by_style == 0) | differs, 0, np.where((by_style == -1) | unsure, -1, 1))


def phrase_list():
    """The phrases as the model file stores them: `name=synonym=synonym|name=…`."""
    return "|".join("=".join(names) for names, _, _ in GROUPS)


def words_of(texts):
    """Every word in the texts, lower case, sorted."""
    return sorted({w for t in texts for w in re.findall(r"[a-z0-9][a-z0-9'\-]*", t.lower())})
