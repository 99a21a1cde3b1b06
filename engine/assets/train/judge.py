"""The scorer's eye: says what a clip shows, from its pixels alone. It never sees the prompt or the model.

Background: the median colours of the top and bottom rows, nearest of the known pairs. Colour: the median of the
pixels farthest from the background. Motion: how area and centre of gravity change from the first two frames
to the last two. Shape: the outline that, drawn with the same area and centre, differs least.
"""

import functools

import torch

import data

BORDER = 3  # pixels
FAR_SHARE, FAR = 0.985, 0.75  # object: farther from the background than FAR of this quantile
FAINT = 0.25  # coverage under this is no object
STILL = 8.0  # pixels of travel under which nothing moved
ASLANT = 0.6  # of the main axis; more on the other axis is no clear direction
GROWN = 1.8  # ratio of areas
SHAPE_FRAMES = (0, 4, 8, 12, 16)
SIZES = (0.92, 1.0, 1.08)
UNCLEAR = "unclear"


@functools.cache
def proportions(shape):
    """Area and height of the centre of gravity of the outline with radius 1."""
    r, size = 40.0, 160
    centre = torch.tensor([size / 2.0])
    a = data.coverage(shape, centre, centre, torch.tensor([r]), size)[0]
    at = torch.arange(size) + 0.5 - size / 2
    return float(a.sum()) / r**2, float((a.sum(1) * at).sum() / a.sum()) / r


def nearest(value, table):
    return min(table, key=lambda name: float((torch.tensor(table[name]).flatten() - value).norm()))


def median(x):
    """Per channel, of (..., 3)."""
    return x.reshape(-1, 3).median(0).values


def mask_of(frames):
    """Background per row, colour of the object, and its coverage (t, h, w)."""
    sides = torch.cat([frames[:, :, :BORDER], frames[:, :, -BORDER:]], 2)
    rows = sides.movedim(1, 0).flatten(1, 2).median(1).values[:, None]  # (h, 1, 3)
    away = (frames - rows).norm(dim=-1)
    far = FAR * float(away.flatten().quantile(FAR_SHARE))
    colour = median(frames[away > far]) if far > 0 else torch.zeros(3)
    direction = colour - rows
    a = ((frames - rows) * direction).sum(-1) / direction.square().sum(-1).clamp(min=1e-6)
    return colour, torch.where(a < FAINT, 0.0, a.clamp(0, 1))


def centre(a):
    """Area, x and y of the centre of gravity of one mask, in pixels."""
    area = float(a.sum())
    at = torch.arange(a.shape[-1]) + 0.5
    if area < 1:
        return 0.0, 0.0, 0.0
    return area, float((a.sum(0) * at).sum()) / area, float((a.sum(1) * at).sum()) / area


def motion_of(masks):
    places = [centre(m) for m in masks]
    (area0, x0, y0), (area1, x1, y1) = (
        tuple(sum(v) / 2 for v in zip(*pair)) for pair in (places[:2], places[-2:])
    )
    dx, dy = x1 - x0, y1 - y0
    main, other = max(abs(dx), abs(dy)), min(abs(dx), abs(dy))
    ratio = area1 / max(area0, 1.0)
    sized = "growing" if ratio > GROWN else "shrinking" if ratio < 1 / GROWN else None
    if main < STILL:
        return sized or "still"
    if sized or other > ASLANT * main:
        return UNCLEAR
    if abs(dx) > abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"


def shape_of(masks):
    """Name of the best outline, and by how much of the object's area it is still off."""
    best = (UNCLEAR, float("inf"))
    places = [(masks[t], *centre(masks[t])) for t in SHAPE_FRAMES]
    total = sum(p[1] for p in places)
    if min(p[1] for p in places) < 1:
        return best
    for shape in data.SHAPES:
        k, drop = proportions(shape)
        off = 0.0
        for mask, area, x, y in places:
            tries = []
            for size in SIZES:
                r = size * (area / k) ** 0.5
                drawn = data.coverage(shape, *(torch.tensor([v]) for v in (x, y - drop * r, r)), mask.shape[-1])[0]
                tries.append(float((drawn - mask).abs().sum()))
            off += min(tries)
        if off / total < best[1]:
            best = (shape, off / total)
    return best


def judge(frames):
    """What a clip (t, h, w, 3) in 0..1 shows: dict of colour, shape, motion, background, and shape_error."""
    frames = frames.float().cpu()
    edge = torch.cat([median(frames[:, :BORDER]), median(frames[:, -BORDER:])])
    colour, masks = mask_of(frames)
    shape, error = shape_of(masks)
    return {
        "colour": nearest(colour, data.COLOURS),
        "shape": shape,
        "motion": motion_of(masks),
        "background": nearest(edge, data.BACKGROUNDS),
        "shape_error": error,
    }


def expected(prompt):
    """The same four answers, read from a caption."""
    words = set(prompt.split())
    found = {}
    for key, table in (("colour", data.COLOURS), ("shape", data.SHAPES), ("background", data.BACKGROUNDS)):
        found[key] = next(name for name in table if name in words)
    found["motion"] = next(name for name in data.MOTIONS if name in words)
    return found
