"""Synthetic captioned clips: one coloured shape, one motion, one clean background.

The whole world the model knows is written in this file: words, colours, outlines, paths. Everything is
rendered from signed distances at sub-pixel positions, so edges are smooth and motion never snaps to the
pixel grid. No picture from outside is used. Lengths are pixels of the 96x96 frame; y grows downwards.
"""

import torch

SIZE, FRAMES, FPS = 96, 17, 25
EDGE = 2.4  # width of the smooth edge in pixels

COLOURS = {
    "red": (0.90, 0.12, 0.10),
    "orange": (1.00, 0.50, 0.05),
    "yellow": (0.97, 0.85, 0.10),
    "green": (0.12, 0.72, 0.22),
    "cyan": (0.10, 0.75, 0.85),
    "blue": (0.15, 0.30, 0.95),
    "purple": (0.58, 0.15, 0.80),
    "pink": (1.00, 0.45, 0.70),
}
# Colour of the top edge and of the bottom edge; linear between.
BACKGROUNDS = {
    "black": ((0.03, 0.03, 0.03), (0.03, 0.03, 0.03)),
    "gray": ((0.50, 0.50, 0.50), (0.50, 0.50, 0.50)),
    "white": ((0.97, 0.97, 0.97), (0.97, 0.97, 0.97)),
    "navy": ((0.06, 0.09, 0.26), (0.06, 0.09, 0.26)),
    "sky": ((0.62, 0.80, 0.97), (0.95, 0.98, 1.00)),
    "dusk": ((0.10, 0.07, 0.25), (0.50, 0.22, 0.38)),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "heart")
MOTIONS = {
    "left": "moving left",
    "right": "moving right",
    "up": "moving up",
    "down": "moving down",
    "still": "standing still",
    "growing": "growing",
    "shrinking": "shrinking",
}
MOTION_NAMES = tuple(MOTIONS)

RADIUS = (14.0, 18.0)
CENTRE_JITTER = 6.0
TRAVEL = (26.0, 34.0)  # path length of a move
SCALE_SMALL, SCALE_LARGE = 0.55, 1.25  # ends of growing and shrinking


def caption(colour, shape, motion, background):
    article = "an" if colour == "orange" else "a"
    return f"{article} {colour} {shape} {MOTIONS[motion]} on a {background} background"


def words():
    """The vocabulary, sorted."""
    found = set()
    for colour in COLOURS:
        for motion in MOTIONS:
            for background in BACKGROUNDS:
                for shape in SHAPES:
                    found.update(caption(colour, shape, motion, background).split())
    return sorted(found)


def signed_distance(shape, x, y, r):
    """Distance in pixels from the outline of `shape` with nominal radius `r`, negative inside."""
    if shape == "circle":
        return torch.hypot(x, y) - r
    if shape == "ring":
        return (torch.hypot(x, y) - 0.78 * r).abs() - 0.27 * r
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.88 * r
    if shape == "triangle":
        c = 1.16 * r
        return torch.maximum(0.8660254 * x.abs() - 0.5 * y - 0.5 * c, y - 0.5 * c)
    if shape == "star":
        return _star(x, y, 1.20 * r)
    if shape == "heart":
        return _heart(x, y, r)
    raise ValueError(f"no such shape: {shape}")


def _star(x, y, tip):
    """Five points up, valleys at 0.48 of the tips: fold the plane into half a point, then one edge."""
    ax, ay = x.abs(), -y
    for nx, ny in ((0.8090170, -0.5877853), (-0.8090170, -0.5877853)):
        over = torch.clamp(nx * ax + ny * ay, min=0) * 2
        ax, ay = ax - over * nx, ay - over * ny
    ax = ax.abs()
    valley = 0.48 * tip
    vx, vy = valley * 0.5877853, valley * 0.8090170
    ex, ey = vx, vy - tip
    length = torch.hypot(ex, ey)
    return (ax * -ey + (ay - tip) * ex) / length


def _heart(x, y, r):
    """A square standing on its corner and a disc on each upper side."""
    half = 0.68 * r
    cy = y - 0.22 * r
    u, v = (x.abs() + cy) * 0.7071068, (x.abs() - cy) * 0.7071068
    box = torch.maximum(u.abs(), v.abs()) - half
    return torch.minimum(box, torch.hypot(u, v - half) - half)


def sample_geometry(n, generator):
    """Random outlines and paths, as a dict of CPU tensors of length n."""

    def uniform(low, high):
        return low + (high - low) * torch.rand(n, generator=generator)

    return {
        "shape": torch.randint(len(SHAPES), (n,), generator=generator),
        "motion": torch.randint(len(MOTIONS), (n,), generator=generator),
        "r": uniform(*RADIUS),
        "x": SIZE / 2 + uniform(-CENTRE_JITTER, CENTRE_JITTER),
        "y": SIZE / 2 + uniform(-CENTRE_JITTER, CENTRE_JITTER),
        "travel": uniform(*TRAVEL),
    }


def path(geometry):
    """Centre x, centre y and radius of every frame, each (n, FRAMES)."""
    u = torch.linspace(0, 1, FRAMES)[None]
    one = torch.ones_like(u)
    motion, travel = geometry["motion"][:, None], geometry["travel"][:, None]
    x, y = geometry["x"][:, None] * one, geometry["y"][:, None] * one
    scale = one.repeat(len(motion), 1)

    def when(name, value, otherwise):
        return torch.where(motion == MOTION_NAMES.index(name), value, otherwise)

    along = travel * (u - 0.5)
    x = when("left", x - along, when("right", x + along, x))
    y = when("up", y - along, when("down", y + along, y))
    grow = SCALE_SMALL + (SCALE_LARGE - SCALE_SMALL) * u
    scale = when("growing", grow, when("shrinking", grow.flip(1), scale))
    return x, y, geometry["r"][:, None] * scale


def coverage(shape, x, y, r, size=SIZE):
    """How much of each pixel the shape covers, (..., size, size), for centres and radii of one shape."""
    at = torch.arange(size, device=x.device, dtype=torch.float32) + 0.5
    px = at[None, :] - x[..., None, None]
    py = at[:, None] - y[..., None, None]
    px, py = torch.broadcast_tensors(px, py)
    distance = signed_distance(shape, px, py, r[..., None, None])
    a = torch.clamp(0.5 - distance / EDGE, 0, 1)
    return a * a * (3 - 2 * a)


def render_masks(geometry, device="cpu"):
    """Coverage of whole clips, (n, FRAMES, SIZE, SIZE)."""
    x, y, r = (t.to(device) for t in path(geometry))
    out = torch.empty(len(r), FRAMES, SIZE, SIZE, device=device)
    for index, name in enumerate(SHAPES):
        rows = (geometry["shape"] == index).nonzero()[:, 0].to(device)
        if len(rows):
            out[rows] = coverage(name, x[rows], y[rows], r[rows])
    return out


def ramp(device="cpu"):
    """How far down each row lies, 0 at the top and 1 at the bottom, (SIZE,)."""
    return torch.linspace(0, 1, SIZE, device=device)


def paint(masks, colour, background):
    """Clips in -1..1, (n, 3, FRAMES, SIZE, SIZE), from masks and lists of names."""
    device = masks.device
    fg = torch.tensor([COLOURS[c] for c in colour], device=device)[:, :, None, None, None]
    ends = torch.tensor([BACKGROUNDS[b] for b in background], device=device)
    top, bottom = (ends[:, i, :, None, None, None] for i in (0, 1))
    bg = top + (bottom - top) * ramp(device)[:, None]
    return 2 * (bg + (fg - bg) * masks[:, None]) - 1


def random_names(table, n, generator):
    keys = list(table)
    return [keys[i] for i in torch.randint(len(keys), (n,), generator=generator).tolist()]


def random_clips(n, generator, device="cpu"):
    """Rendered clips in -1..1 and what they show."""
    geometry = sample_geometry(n, generator)
    colour = random_names(COLOURS, n, generator)
    background = random_names(BACKGROUNDS, n, generator)
    clips = paint(render_masks(geometry, device), colour, background)
    return clips, geometry, colour, background
