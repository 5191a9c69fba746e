"""Procedural stylisers: a face photo in, the same face drawn, painted, carved or made up, out.

Every styliser takes a float32 array `[128, 128, 3]` (RGB in [0, 1]; faces aligned as in UTKFace: eyes at x 43 and 85,
y 51) and a `numpy.random.Generator`, and returns an array of the same shape. Each call draws its own parameters, so that
no two twins share a recipe: the CLIP that learns from them has to learn the style and not one filter.

`STYLES` maps the style's key to its function; `FACES_ONLY` are those that only make sense on an aligned face.
"""

import cv2
import numpy as np
from scipy.spatial import cKDTree

cv2.setNumThreads(1)

SIZE = 128
EYES = ((43.0, 51.0), (85.0, 51.0))
NOSE = (64.0, 75.0)
MOUTH = (64.0, 98.0)
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE].astype(np.float32)
GREY = np.float32([0.299, 0.587, 0.114])


# ------------------------------------------------------------------------------------------------- small tools


def grey(image):
    return image @ GREY


def blur(image, sigma):
    return cv2.GaussianBlur(image, (0, 0), float(sigma)) if sigma > 0 else image


def clip(image):
    return np.clip(image, 0, 1).astype(np.float32)


def rgb(plane):
    return np.repeat(plane[..., None], 3, 2) if plane.ndim == 2 else plane


def stretched(plane):
    """Grey levels between the 2nd and the 98th percentile, spread over [0, 1]."""
    low, high = np.percentile(plane, (2, 98))
    return clip((plane - low) / (high - low + 1e-3))


def noise(rng, sigma, shape=(SIZE, SIZE)):
    """Smooth noise of mean 0 and deviation 1."""
    plane = blur(rng.standard_normal(shape).astype(np.float32), sigma)
    return plane / (plane.std() + 1e-6)


def saturated(image, saturation, value=1.0, hue=0.0):
    hsv = cv2.cvtColor(clip(image), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + hue) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 1)
    hsv[..., 2] = np.clip(hsv[..., 2] * value, 0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def edges(plane, sigma):
    plane = blur(plane, sigma)
    return np.hypot(cv2.Sobel(plane, -1, 1, 0), cv2.Sobel(plane, -1, 0, 1)) * 0.5


def outlines(plane, rng, sigma=None, strength=None, level=None, sharpness=None):
    """Black lines on white: the extended difference of Gaussians (Winnemöller 2011), 1 = paper."""
    sigma = sigma or rng.uniform(0.9, 1.6)
    strength = strength or rng.uniform(12, 30)
    level = level if level is not None else rng.uniform(0.45, 0.75)
    sharpness = sharpness or rng.uniform(5, 15)
    a, b = blur(plane, sigma), blur(plane, sigma * 1.6)
    d = (1 + strength) * a - strength * b
    return np.where(d >= level, 1, 1 + np.tanh(sharpness * (d - level))).astype(np.float32)


def hatching(plane, rng, layers):
    """Parallel strokes where it is dark, one more direction for every darker tone."""
    out = np.ones_like(plane)
    base, wobble = rng.uniform(0, np.pi), noise(rng, 5) * 0.5
    for layer in range(layers):
        angle = base + layer * np.pi / max(layers, 2) + rng.uniform(-0.15, 0.15)
        frequency = rng.uniform(1.1, 1.9)
        wave = np.sin((COLUMNS * np.cos(angle) + ROWS * np.sin(angle)) * frequency + wobble + rng.uniform(0, 6))
        dark = plane < 0.72 - 0.2 * layer
        out = np.where((wave > 0.1) & dark, out * rng.uniform(0.4, 0.7), out)
    return blur(out.astype(np.float32), 0.5)


def on_paper(plane, rng, grain=0.03, tint=0.15):
    plane = clip(plane + rng.uniform(0, grain) * noise(rng, rng.choice([0, 0.7, 1.2])))
    if rng.random() < tint:
        return clip(rgb(plane) * np.float32([1, rng.uniform(0.94, 1), rng.uniform(0.84, 0.97)]))
    return rgb(plane)


def flattened(image, rng, times=3, colour=0.12, reach=5.0):
    for _ in range(times):
        image = cv2.bilateralFilter(image, 7, colour, reach)
    return image


def flat_colours(image, rng, colours, soft=0.7):
    """k-means in colour: the flat areas of a drawing."""
    pixels = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    centres = pixels[rng.choice(len(pixels), colours, replace=False)]
    for _ in range(5):
        nearest = ((pixels[:, None] - centres[None]) ** 2).sum(-1).argmin(1)
        centres = np.stack([pixels[nearest == k].mean(0) if (nearest == k).any() else centres[k] for k in range(colours)])
    every = image.reshape(-1, 3)
    nearest = ((every[:, None] - centres[None]) ** 2).sum(-1).argmin(1)
    return blur(centres[nearest].reshape(image.shape).astype(np.float32), soft)


def bulged(image, points, radius, strength):
    """Enlarges what lies around the points (big eyes)."""
    x, y = COLUMNS.copy(), ROWS.copy()
    for cx, cy in points:
        dx, dy = COLUMNS - cx, ROWS - cy
        d = np.hypot(dx, dy) / radius
        factor = np.where(d < 1, 1 - strength * (1 - d) * np.cos(d * np.pi / 2), 1)
        x += dx * (factor - 1)
        y += dy * (factor - 1)
    return cv2.remap(image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def kuwahara(image, k):
    """Each pixel becomes the mean of the calmest of four windows around it: dabs of paint."""
    g = grey(image)
    best = least = None
    for ax in (0, k - 1):
        for ay in (0, k - 1):
            mean = cv2.blur(image, (k, k), anchor=(ax, ay))
            m = cv2.blur(g, (k, k), anchor=(ax, ay))
            var = cv2.blur(g * g, (k, k), anchor=(ax, ay)) - m * m
            if best is None:
                best, least = mean, var
            else:
                calm = var < least
                best, least = np.where(calm[..., None], mean, best), np.where(calm, var, least)
    return best.astype(np.float32)


def along_contours(image, rng, length, source=None, wander=0.25):
    """Line integral convolution along the contours: smears `source` (default the image) as a brush would."""
    g = blur(grey(image), 3.0)
    angle = np.arctan2(cv2.Sobel(g, -1, 0, 1), cv2.Sobel(g, -1, 1, 0)) + np.pi / 2 + wander * noise(rng, 7)
    vx, vy = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    source = image if source is None else source
    total = np.zeros_like(source)
    for step in range(-length, length + 1):
        total += cv2.remap(source, COLUMNS + step * vx, ROWS + step * vy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return total / (2 * length + 1)


def brushed(image, rng, amount, length, width=0.8):
    """Relief of brush strokes that follow the contours."""
    strokes = along_contours(image, rng, length, source=noise(rng, width))
    strokes /= strokes.std() + 1e-6
    return clip(image * (1 + amount * strokes[..., None]))


def graded(plane, palette):
    """A grey plane through a palette from dark to light."""
    palette = np.float32(palette)
    t = np.clip(plane * (len(palette) - 1), 0, len(palette) - 1.001)
    k = t.astype(int)
    f = (t - k)[..., None]
    return palette[k] * (1 - f) + palette[k + 1] * f


def vignette(rng, low, high):
    d = ((COLUMNS - 64) ** 2 + (ROWS - 64) ** 2) / 64**2
    return (1 - rng.uniform(low, high) * d / 2)[..., None]


def face_area(softness=3.0):
    d = ((COLUMNS - 64) / 47) ** 2 + ((ROWS - 70) / 62) ** 2
    return blur((d < 1).astype(np.float32), softness)


def skin(image):
    """Soft mask of skin: its colours, surely inside the face, perhaps outside."""
    ycc = cv2.cvtColor(clip(image), cv2.COLOR_RGB2YCrCb)
    tone = (ycc[..., 1] > 0.51) & (ycc[..., 1] < 0.72) & (ycc[..., 2] > 0.27) & (ycc[..., 2] < 0.51) & (ycc[..., 0] > 0.12)
    face = face_area(4.0)
    mask = np.maximum(tone * np.where(face > 0.5, 1, 0.6), 0.7 * face * (grey(image) > 0.22))
    return blur(mask.astype(np.float32), 2.0)[..., None]


def blob(image, x, y, rx, ry, colour, opacity=1.0, shade=None):
    """A soft ellipse of paint that keeps the light of what lies below (`shade`, a grey plane)."""
    d = ((COLUMNS - x) / rx) ** 2 + ((ROWS - y) / ry) ** 2
    mask = (opacity * np.clip(2.2 - 2 * d, 0, 1))[..., None]
    light = 1 if shade is None else (0.55 + 0.45 * shade)[..., None]
    return image * (1 - mask) + mask * np.float32(colour) * light


# --------------------------------------------------------------------------------------------- lines and drawings


def pencil(image, rng):
    g = stretched(grey(image))
    dodge = lambda s, p: clip(g / (1.02 - blur(1 - g, s))) ** p  # noqa: E731
    kind = rng.integers(5)
    if kind == 0:
        out = dodge(rng.uniform(4, 12), rng.uniform(1.2, 2.6))
    elif kind == 1:
        out = clip(1 - rng.uniform(1.6, 3.0) * edges(g, rng.uniform(0.4, 1.2)))
    elif kind == 2:
        out = dodge(rng.uniform(4, 9), rng.uniform(1, 2)) * hatching(blur(g, 1.5), rng, rng.integers(1, 4))
    elif kind == 3:
        out = clip(1 - rng.uniform(1.4, 2.4) * edges(g, 0.8)) * (1 - rng.uniform(0.15, 0.45) * (1 - g))
    else:
        out = 0.4 * outlines(g, rng, sharpness=3, level=0.4) + 0.6 * dodge(rng.uniform(4, 10), 2)
    out = 1 - (1 - clip(out)) * rng.uniform(0.75, 1) * (1 + 0.25 * noise(rng, 0.7))
    return on_paper(clip(out), rng, 0.03)


def charcoal(image, rng):
    g = stretched(grey(image))
    tones = rng.integers(3, 5)
    tone = clip(0.12 + 0.88 * (np.floor(clip(blur(g, 2.0) + 0.08 * noise(rng, 1)) * tones) + 0.5) / tones + rng.uniform(0.1, 0.3))
    tone = np.maximum(blur(tone, 0.8), 0.95 * clip((blur(g, 4) - 0.35) * 6))
    line = np.minimum(clip(1 - rng.uniform(2.0, 3.5) * edges(g, rng.uniform(1.2, 1.8))), 0.25 + 0.75 * outlines(g, rng, sigma=1.8, level=0.4, sharpness=5))
    length = int(rng.integers(7, 15)) | 1
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    turn = cv2.getRotationMatrix2D((length // 2, length // 2), rng.uniform(0, 180), 1)
    strokes = cv2.filter2D(noise(rng, 0.3), -1, cv2.warpAffine(kernel, turn, (length, length)))
    strokes /= strokes.std() + 1e-6
    grain = noise(rng, rng.uniform(0.4, 0.9))
    out = tone * line + rng.uniform(0.05, 0.12) * (grain + strokes) * (1 - 0.5 * tone)
    paper = clip(face_area(12) * 1.6 + 0.3 * noise(rng, 6) + rng.uniform(0, 0.7))  # the drawing fades towards the border
    out = out * paper + (1 - paper) * (1 - 0.3 * (1 - out))
    return on_paper(clip(0.05 + 0.9 * clip(out)), rng, 0.03, 0.2)


def ink(image, rng):
    g = stretched(grey(image))
    kind = rng.integers(4)
    if kind == 0:
        out = outlines(g, rng, sharpness=30)
    elif kind == 1:
        out = outlines(g, rng, sigma=rng.uniform(0.9, 1.4), strength=rng.uniform(25, 55), level=rng.uniform(0.35, 0.6), sharpness=20)
    elif kind == 2:
        out = np.minimum(outlines(g, rng, sharpness=25), hatching(blur(g, 1.2), rng, rng.integers(1, 4)) ** 2)
    else:  # brush and ink: big black areas
        out = np.minimum(outlines(g, rng, sharpness=25), clip((blur(g, 1.0) - rng.uniform(0.2, 0.4)) * 20))
    return on_paper(clip(out), rng, 0.015)


def cartoon(image, rng, face=True):
    if face and rng.random() < 0.6:
        image = bulged(image, EYES, rng.uniform(18, 24), rng.uniform(0.2, 0.5))
    out = saturated(flattened(image, rng, rng.integers(2, 5), rng.uniform(0.1, 0.2)), rng.uniform(1.0, 1.7), rng.uniform(1.05, 1.3), rng.uniform(-10, 10))
    if rng.random() < 0.7:
        out = flat_colours(out, rng, rng.integers(7, 14))
    g = stretched(grey(image))
    if rng.random() < 0.6:
        lines = outlines(g, rng, sigma=rng.uniform(1.2, 1.8), level=rng.uniform(0.2, 0.42), sharpness=rng.uniform(8, 18))
    else:
        lines = clip(1 - rng.uniform(3, 6) * np.maximum(edges(g, 1.2) - 0.09, 0))
    return clip(out * rgb(clip(lines)) * 0.97 + 0.02)


def anime(image, rng, face=True):
    """Pale flat skin in two tones, big dark eyes, thin lines, hair of any colour."""
    if face:
        image = bulged(image, EYES, rng.uniform(22, 27), rng.uniform(0.45, 0.65))
    g = stretched(grey(image))
    mask = skin(image)
    smooth = flattened(image, rng, 4, 0.16)
    tone = clip((blur(stretched(grey(smooth)), 1.2) - rng.uniform(0.35, 0.5)) * 7)[..., None]
    light, shade = np.float32([1, rng.uniform(0.87, 0.94), rng.uniform(0.8, 0.9)]), np.float32([0.93, rng.uniform(0.7, 0.8), rng.uniform(0.65, 0.78)])
    painted = shade * (1 - tone) + light * tone
    rest = flat_colours(saturated(smooth, rng.uniform(1.3, 2.0), 1.15, rng.choice([0, 0, rng.uniform(0, 360)])), rng, rng.integers(5, 9))
    keep = clip((0.42 - g) * 5)[..., None]  # eyes and brows stay dark
    mouth = blob(np.zeros_like(image), *MOUTH, 15, 7, (1, 1, 1), 0.9)
    out = rest * (1 - mask) + mask * (painted * (1 - keep) + smooth * 0.6 * keep)
    out = out * (1 - 0.7 * mouth) + 0.7 * mouth * saturated(smooth, 1.3, 1.1)
    lines = outlines(g, rng, sigma=rng.uniform(0.8, 1.1), level=rng.uniform(0.25, 0.4), sharpness=14)
    return clip(out * rgb(clip(lines) * 0.85 + 0.15))


def comic(image, rng, face=True):
    """Halftone dots, heavy black lines, few primary colours."""
    g = stretched(grey(image))
    angle, frequency = rng.uniform(0.3, 0.9), rng.uniform(0.9, 1.5)
    u, v = COLUMNS * np.cos(angle) - ROWS * np.sin(angle), COLUMNS * np.sin(angle) + ROWS * np.cos(angle)
    screen = (np.cos(u * frequency) + np.cos(v * frequency)) / 4 + 0.5
    dots = clip(((1 - g) * rng.uniform(0.7, 1.0) - screen) * 6 + 0.5)[..., None]
    lines = rgb(np.minimum(outlines(g, rng, sigma=1.4, level=rng.uniform(0.25, 0.45), sharpness=20), clip((g - 0.14) * 12)))
    if rng.random() < 0.35:
        paper = np.float32([0.97, 0.95, 0.9])
        return clip((paper * (1 - dots) + 0.05 * dots) * lines)
    out = flat_colours(saturated(flattened(image, rng, 3), rng.uniform(1.2, 1.9), 1.2, rng.uniform(-12, 12)), rng, rng.integers(5, 9))
    ink_colour = np.float32([[0.8, 0.15, 0.15], [0.1, 0.25, 0.7], [0.1, 0.1, 0.1]][rng.integers(3)])
    out = out * (1 - 0.6 * dots) + ink_colour * 0.6 * dots
    return clip(out * lines)


def ukiyo(image, rng):
    out = flattened(image, rng, 4, 0.2)
    g = stretched(grey(out))
    levels = rng.integers(3, 6)
    q = np.clip((blur(g, 1.2) * levels).astype(int), 0, levels - 1)
    palette = np.float32([[0.13, 0.17, 0.3], [0.3, 0.42, 0.52], [0.75, 0.6, 0.45], [0.9, 0.83, 0.68], [0.95, 0.91, 0.8]])
    picked = palette[np.linspace(0, 4, levels).astype(int)]
    out = picked[q] * 0.8 + 0.2 * saturated(out, 1.2)
    lines = outlines(g, rng, level=0.4, sharpness=15)
    return clip(blur(out.astype(np.float32), 0.6) * rgb(clip(lines) * 0.9 + 0.1) + 0.02 * noise(rng, 0.8)[..., None])


def pop_art(image, rng):
    g = stretched(grey(flattened(image, rng, 2, 0.15)))
    colours = np.float32([[1, 0.9, 0.1], [0.95, 0.1, 0.5], [0.1, 0.7, 0.9], [1, 0.5, 0.1], [0.5, 0.2, 0.8], [0.3, 0.85, 0.3], [1, 0.75, 0.8]])
    tones = rng.integers(3, 6)
    order = colours[rng.permutation(len(colours))]
    order = order[grey(order).argsort()]
    picked = order[np.linspace(rng.integers(0, 2), len(order) - 1, tones - 1).astype(int)]  # dark to light, well apart
    palette = np.concatenate([np.float32([[0.08, 0.05, 0.12]]), picked])
    return clip(blur(palette[np.clip((g * tones).astype(int), 0, tones - 1)], 0.5))


# -------------------------------------------------------------------------------------------------------- paint


def oil(image, rng):
    out = kuwahara(image, int(rng.choice([5, 6, 7, 9])))
    if rng.random() < 0.7:
        out = kuwahara(out, int(rng.choice([4, 5, 6])))
    if rng.random() < 0.6:
        out = along_contours(out, rng, rng.integers(2, 5))
    out = saturated(out, rng.uniform(1.1, 1.6)) * np.float32([rng.uniform(1, 1.1), 1, rng.uniform(0.78, 1)])
    out = brushed(clip(out), rng, rng.uniform(0.06, 0.14), rng.integers(5, 10), rng.uniform(0.6, 1.1))
    canvas = np.sin(COLUMNS * rng.uniform(1.5, 2.4)) * np.sin(ROWS * rng.uniform(1.5, 2.4))
    out = clip(out) ** rng.uniform(0.9, 1.3) * (1 + rng.uniform(0, 0.05) * canvas[..., None])
    return clip(out * vignette(rng, 0, 0.35))


def watercolor(image, rng):
    out = kuwahara(blur(image, rng.uniform(0.8, 2)), int(rng.choice([6, 8, 10])))
    pale = rng.uniform(0.3, 0.5)
    out = pale + (1 - pale) * saturated(out, rng.uniform(1.3, 2.1))
    wet = 0.5 + 0.5 * np.tanh(noise(rng, rng.uniform(6, 13)))[..., None]
    out = out + (1 - out) * wet * rng.uniform(0.2, 0.55)
    out = out - rng.uniform(0.4, 0.9) * rgb(edges(grey(kuwahara(image, 7)), 1.2)) * (1 - wet * 0.5)
    border = np.maximum(abs(COLUMNS - 64), abs(ROWS - 64)) / 64 + 0.13 * noise(rng, 7)
    white = clip((border - rng.uniform(0.72, 1.0)) * 9)[..., None]
    return clip(out * (1 - white) + 0.98 * white + 0.015 * noise(rng, 0.8)[..., None])


def van_gogh(image, rng):
    out = along_contours(kuwahara(image, 7), rng, rng.integers(2, 5), wander=0.35)
    palette = [[0.05, 0.08, 0.3], [0.1, 0.3, 0.6], [0.4, 0.6, 0.62], [0.9, 0.75, 0.3], [1, 0.93, 0.6]]
    share = rng.uniform(0.45, 0.75)
    out = out * (1 - share) + share * graded(stretched(grey(out)), palette)
    out = out * rgb(0.4 + 0.6 * outlines(stretched(grey(image)), rng, sigma=1.5, level=0.3, sharpness=8))
    return brushed(clip(out), rng, rng.uniform(0.12, 0.22), 8, rng.uniform(0.8, 1.2))


# ------------------------------------------------------------------------------------------- blocks, tiles, glass


def pixel_art(image, rng):
    cells = int(rng.choice([22, 26, 28, 32, 36]))
    small = cv2.resize(image, (cells, cells), interpolation=cv2.INTER_AREA)
    small = saturated(small, rng.uniform(1.0, 1.6))
    small = clip((small - 0.5) * rng.uniform(1.05, 1.4) + 0.52)
    if rng.random() < 0.5:
        levels = rng.integers(3, 7)
        small = np.round(small * levels) / levels
    else:
        pixels = small.reshape(-1, 3)
        k = rng.integers(8, 16)
        centres = pixels[rng.choice(len(pixels), k, replace=False)]
        for _ in range(4):
            near = ((pixels[:, None] - centres[None]) ** 2).sum(-1).argmin(1)
            centres = np.stack([pixels[near == c].mean(0) if (near == c).any() else centres[c] for c in range(k)])
        small = centres[near].reshape(small.shape)
    return clip(cv2.resize(small.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST))


def mosaic(image, rng):
    """Tiles in rows that waver a little, each of one colour, with grout between."""
    k = rng.uniform(4.3, 7)
    wave = noise(rng, 12) * rng.uniform(0, 1.5)
    x, y = (COLUMNS + wave + rng.uniform(0, k)) / k, (ROWS + noise(rng, 12) * rng.uniform(0, 1.5) + rng.uniform(0, k)) / k
    x = x + 0.5 * (y.astype(int) % 2) * rng.choice([0, 1])
    tx, ty = np.floor(x).astype(int), np.floor(y).astype(int)
    label = (ty - ty.min()) * 64 + (tx - tx.min())
    count = np.bincount(label.ravel(), minlength=64 * 64)[:, None] + 1e-6
    mean = np.stack([np.bincount(label.ravel(), image[..., c].ravel(), minlength=64 * 64) for c in range(3)], 1) / count
    mean = saturated(mean[None].astype(np.float32), rng.uniform(1.2, 1.9), rng.uniform(1, 1.15))[0]
    mean = clip(mean * (1 + rng.uniform(0.06, 0.14) * rng.standard_normal((len(mean), 1))))
    gap = np.minimum(np.minimum(x - tx, 1 - x + tx), np.minimum(y - ty, 1 - y + ty)) * k
    tile = clip((gap - rng.uniform(0.2, 0.45)) * 2.5)[..., None]
    return clip(mean[label] * tile + rng.choice([0.12, 0.25, 0.4, 0.85]) * (1 - tile))


def stained_glass(image, rng):
    n = int(rng.integers(350, 800))
    near, label = cKDTree(rng.random((n, 2)) * SIZE).query(np.stack([ROWS, COLUMNS], -1), k=2)
    label = label[..., 0]
    count = np.bincount(label.ravel(), minlength=n)[:, None] + 1e-6
    mean = np.stack([np.bincount(label.ravel(), image[..., c].ravel(), minlength=n) for c in range(3)], 1) / count
    mean = saturated(mean[None].astype(np.float32), rng.uniform(1.3, 2.1), rng.uniform(1.1, 1.4), rng.uniform(-15, 15))[0]
    return clip(mean[label] * np.clip((near[..., 1] - near[..., 0]) / 1.5, 0.05, 1)[..., None])


# ------------------------------------------------------------------------------------------------- photographs


def black_and_white(image, rng):
    """An old black-and-white print: faded, grainy, sometimes scratched."""
    g = clip((grey(blur(image, rng.uniform(0.3, 1.1))) - 0.5) * rng.uniform(0.8, 1.3) + 0.5)
    out = rgb(g) * vignette(rng, 0, 0.5) + rng.uniform(0.01, 0.05) * noise(rng, 0.6)[..., None]
    fade = rng.uniform(0, 0.15)
    out = fade + (1 - 1.5 * fade) * out
    if rng.random() < 0.3:
        for _ in range(rng.integers(1, 5)):
            x = rng.uniform(0, SIZE)
            out = out + 0.4 * np.exp(-(((COLUMNS - x - 2 * np.sin(ROWS / 30)) / 0.6) ** 2))[..., None]
    return clip(out)


def sepia(image, rng):
    g = clip((grey(blur(image, rng.uniform(0.4, 1.4))) - 0.5) * rng.uniform(0.7, 1.0) + 0.52)
    out = rgb(g) * np.float32([1.07, rng.uniform(0.84, 0.91), rng.uniform(0.58, 0.72)]) + np.float32([0.06, 0.03, 0])
    out = out * vignette(rng, 0, 0.45)
    if rng.random() < 0.5:
        out = out + rng.uniform(0.02, 0.06) * noise(rng, 0.6)[..., None]
    return clip(out)


def negative(image, rng):
    return clip(1 - image) if rng.random() < 0.7 else rgb(1 - grey(image))


def neon(image, rng):
    g = stretched(grey(image))
    line = clip(rng.uniform(1.6, 3.0) * np.maximum(edges(g, rng.uniform(0.9, 1.6)) - 0.03, 0))
    glow = blur(line, rng.uniform(3, 6))
    lamps = np.float32([[0, 1, 1], [1, 0, 0.9], [0.3, 1, 0.2], [0.2, 0.4, 1], [1, 0.3, 0.2]])
    first, second = lamps[rng.permutation(5)[:2]]
    mix = (0.5 + 0.5 * np.tanh(noise(rng, 18)))[..., None]
    colour = first * mix + second * (1 - mix)
    return clip(rng.uniform(0.02, 0.12) * image + colour * (line[..., None] + 1.3 * glow[..., None]) + 0.6 * rgb(line) ** 3)


# ------------------------------------------------------------------------------------------------------ statues


def relit(image, rng):
    """Form without colour: albedo evened out (hair and eyes lose their darkness), and raking light on the relief."""
    g = stretched(grey(image))
    form = flattened(g, rng, 2, 0.12)
    even = form - rng.uniform(0.35, 0.6) * (blur(form, 10) - 0.5)  # dark hair becomes light stone
    relief = blur(even, 1.2)
    angle = rng.uniform(0, 2 * np.pi)
    light = cv2.Sobel(relief, -1, 1, 0) * np.cos(angle) + cv2.Sobel(relief, -1, 0, 1) * np.sin(angle)
    return clip(even), light


def marble(image, rng):
    form, light = relit(image, rng)
    out = rng.uniform(0.55, 0.7) + rng.uniform(0.35, 0.55) * (form - 0.5) + rng.uniform(0.3, 0.6) * light
    veins = np.exp(-abs(noise(rng, 10)) * 14)
    out = out - rng.uniform(0.03, 0.12) * veins
    return clip(rgb(out.astype(np.float32)) * np.float32([1, rng.uniform(0.97, 1), rng.uniform(0.92, 1.02)]) + 0.01 * noise(rng, 0.8)[..., None])


def bronze(image, rng):
    form, light = relit(image, rng)
    out = clip(0.05 + 0.75 * form**1.5 + rng.uniform(0.4, 0.8) * light)
    palette = [[0.06, 0.03, 0.02], [0.3, 0.16, 0.08], [0.6, 0.36, 0.18], [0.85, 0.62, 0.38], [1, 0.92, 0.75]]
    out = graded(out, palette)
    patina = clip(noise(rng, 8) - rng.uniform(0.3, 1.5))[..., None] * rng.choice([0, 0.6])
    return clip(out * (1 - patina) + patina * grey(out)[..., None] * np.float32([0.6, 1.2, 1.0]))


def gold(image, rng):
    form, light = relit(image, rng)
    out = clip(0.1 + 0.85 * form + rng.uniform(0.5, 0.9) * light)
    return clip(graded(out, [[0.18, 0.08, 0], [0.55, 0.33, 0.05], [0.9, 0.68, 0.15], [1, 0.9, 0.45], [1, 1, 0.85]]))


# ------------------------------------------------------------------------------------------------ faces made up


def recoloured(image, rng, colour, contrast):
    mask, g = skin(image), clip(stretched(grey(image)) * contrast + 0.02)[..., None]
    colour = np.float32(colour)
    tone = np.where(g < 0.6, g / 0.6 * colour, colour + (g - 0.6) / 0.4 * (1 - colour) * 0.6)
    return clip(image * (1 - mask) * rng.uniform(0.6, 1) + tone * mask)


def zombie(image, rng):
    out = recoloured(image, rng, [rng.uniform(0.33, 0.48), rng.uniform(0.52, 0.68), rng.uniform(0.25, 0.38)], rng.uniform(0.7, 0.95))
    for x, y in EYES:
        d = ((COLUMNS - x) / 13) ** 2 + ((ROWS - y - 2) / 11) ** 2
        out = out * (1 - rng.uniform(0.35, 0.75) * np.exp(-d))[..., None]
    rot = clip(noise(rng, 5) - rng.uniform(0.9, 1.5))[..., None] * rng.choice([0, 0.7, 1])
    out = out * (1 - rot) + rot * np.float32([0.32, 0.04, 0.04])
    if rng.random() < 0.5:  # blood below the mouth
        run = clip(noise(rng, 3)) * np.exp(-(((COLUMNS - 64) / 16) ** 2)) * (ROWS > 96)
        out = out * (1 - 0.8 * run[..., None]) + 0.8 * run[..., None] * np.float32([0.45, 0.02, 0.03])
    return clip(out)


def blue_skin(image, rng):
    if rng.random() < 0.4:
        image = bulged(image, EYES, 22, rng.uniform(0.2, 0.5))
    return recoloured(image, rng, [rng.uniform(0.12, 0.3), rng.uniform(0.4, 0.6), rng.uniform(0.8, 0.95)], rng.uniform(0.75, 1))


def clown(image, rng):
    shade = stretched(grey(image))
    out = recoloured(image, rng, [0.94, 0.91, 0.91], 1.15)
    hair = (1 - skin(image)) * (ROWS < 56)[..., None] * np.clip(1 - grey(image)[..., None] * 0.6, 0, 1) * 0.85
    colour = np.float32([[0.2, 0.8, 0.3], [0.95, 0.4, 0.1], [0.9, 0.1, 0.2], [0.2, 0.4, 0.95]][rng.integers(4)])
    out = out * (1 - hair) + hair * colour * (0.45 + shade[..., None])
    paint = [[0.1, 0.3, 0.9], [0.05, 0.05, 0.08], [0.1, 0.6, 0.3]][rng.integers(3)]
    for x, y in EYES:
        out = blob(out, x, y, rng.uniform(10, 14), rng.uniform(9, 13), paint, 0.5, shade)
    out = blob(out, MOUTH[0], MOUTH[1] + rng.normal(), rng.uniform(22, 29), rng.uniform(8, 11), [0.85, 0.05, 0.1], 0.8, shade)
    if rng.random() < 0.75:
        out = blob(out, NOSE[0] + rng.normal(), NOSE[1] + rng.normal(), rng.uniform(9, 12), rng.uniform(8, 11), [0.95, 0.08, 0.1], 1, shade)
    return clip(out)


def glasses(image, rng, dark=False):
    """Spectacles drawn over the eyes: the frame, a bridge, the arms; `dark` fills the lenses."""
    up = cv2.resize(image, (512, 512), interpolation=cv2.INTER_CUBIC)
    frame = np.zeros((512, 512), np.float32)
    lens = np.zeros((512, 512), np.float32)
    rx, ry = rng.uniform(66, 80), rng.uniform(44, 64)
    drop, thick = rng.uniform(0, 14), int(rng.integers(6, 15))
    square = rng.random() < 0.5
    for x, y in EYES:
        cx, cy = 4 * x, 4 * y + drop
        if square:
            corners = [int(cx - rx), int(cy - ry)], [int(cx + rx), int(cy + ry)]
            cv2.rectangle(lens, *corners, 1, -1)
            cv2.rectangle(frame, *corners, 1, thick)
        else:
            cv2.ellipse(lens, (int(cx), int(cy)), (int(rx), int(ry)), 0, 0, 360, 1, -1)
            cv2.ellipse(frame, (int(cx), int(cy)), (int(rx), int(ry)), 0, 0, 360, 1, thick)
    y = int(4 * EYES[0][1] + drop - ry * 0.3)
    left, right = int(4 * EYES[0][0] + rx), int(4 * EYES[1][0] - rx)
    cv2.line(frame, (left, y), (right, y), 1, thick)
    cv2.line(frame, (int(4 * EYES[0][0] - rx), y), (30, y - 8), 1, thick)
    cv2.line(frame, (int(4 * EYES[1][0] + rx), y), (482, y - 8), 1, thick)
    frame, lens = blur(frame, 2.0)[..., None], blur(lens, 2.0)[..., None]
    tint = rng.uniform(0.82, 0.95) if dark else rng.uniform(0, 0.12)
    glass = np.float32([0.05, 0.05, 0.07]) if dark else np.float32([0.85, 0.9, 0.95])
    out = up * (1 - tint * lens) + tint * lens * glass
    colour = np.float32([[0.05, 0.05, 0.06], [0.2, 0.1, 0.05], [0.5, 0.5, 0.52], [0.35, 0.05, 0.07]][rng.integers(4)])
    out = out * (1 - frame) + frame * colour
    return clip(cv2.resize(out, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def sunglasses(image, rng):
    return glasses(image, rng, dark=True)


STYLES = {
    "pencil": pencil, "charcoal": charcoal, "ink": ink, "cartoon": cartoon, "anime": anime, "comic": comic, "ukiyo": ukiyo,
    "popart": pop_art, "oil": oil, "watercolor": watercolor, "vangogh": van_gogh, "pixel": pixel_art, "mosaic": mosaic,
    "stained": stained_glass, "bw": black_and_white, "sepia": sepia, "negative": negative, "neon": neon, "marble": marble,
    "bronze": bronze, "gold": gold, "zombie": zombie, "blue": blue_skin, "clown": clown, "glasses": glasses,
    "sunglasses": sunglasses,
}
FACES_ONLY = {"zombie", "blue", "clown", "glasses", "sunglasses", "anime"}


def photographic(image, rng):
    """Another photo of the same: colours, exposure and contrast as cameras and prints vary. Any tint is still a photo."""
    image = saturated(clip(image), rng.uniform(0.5, 1.5))
    image = image * rng.uniform(0.8, 1.2) * rng.uniform(0.93, 1.07, 3).astype(np.float32)
    mean = image.mean()
    image = clip((image - mean) * rng.uniform(0.8, 1.25) + mean)
    chance = rng.random()
    if chance < 0.2:
        image = saturated(image, 1, 1, rng.uniform(0, 360))
    elif chance < 0.45:
        image = clip(image * np.float32([rng.uniform(0.7, 1.25), rng.uniform(0.8, 1.2), rng.uniform(0.7, 1.25)]))
    return clip(image)


def spoiled(image, rng):
    """What a generator does when it fools a judge: casts, contrast, sharpening, dots and blotches. Still only a photo."""
    for kind in rng.choice(6, rng.integers(1, 4), replace=False):
        if kind == 0:
            image = image * rng.uniform(0.35, 1.5, 3).astype(np.float32)
        elif kind == 1:
            image = saturated(image, rng.uniform(0.6, 2.2), rng.uniform(0.7, 1.3), rng.uniform(0, 360))
        elif kind == 2:
            image = clip((clip(image) ** rng.uniform(0.4, 2.2) - 0.5) * rng.uniform(0.5, 2.2) + rng.uniform(0.35, 0.65))
        elif kind == 3:
            image = image + rng.uniform(0.5, 2.5) * (image - blur(image, rng.uniform(0.8, 3)))
        elif kind == 4:
            period = int(rng.integers(2, 12))
            tile = np.tile(rng.standard_normal((period, period)), (SIZE // period + 1,) * 2)[:SIZE, :SIZE, None]
            image = image + rng.uniform(0.02, 0.12) * tile * rng.standard_normal(3)
        else:
            for c in range(3):
                image[..., c] += rng.uniform(0, 0.15) * noise(rng, rng.uniform(1, 8))
        image = clip(image)
    return image
