"""Latents that the transformer has touched, with the clips they should decode to.

A clip's latents get noise, not enough to lose its place, and are sampled back from there as LTXPipeline would.
They then carry the transformer's own slips, and the clip is still known: the decoder can learn to forgive them.
"""

import torch

import assemble
import dit
import text
from decoder import HELD, random_paint

COUNT, BATCH = 512, 32
LEVELS = (0.35, 0.85)  # noise to sample back from
STEPS, GUIDANCE = 10, 2.0


def sigmas(tokens):
    """The noise levels of a whole sampling run, as LTXPipeline sets them."""
    scheduler = assemble.scheduler()
    c = scheduler.config
    slope = (c.max_shift - c.base_shift) / (c.max_image_seq_len - c.base_image_seq_len)
    mu = c.base_shift + slope * (tokens - c.base_image_seq_len)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / STEPS, STEPS).numpy(), mu=mu)
    return scheduler.sigmas


class Pairs:
    """COUNT pairs of latents and clips, the last HELD kept for tests."""

    @torch.no_grad()
    def __init__(self, bank, trained, seed=8):
        self.bank = bank
        generator = torch.Generator().manual_seed(seed)
        model, t5 = dit.transformer().eval(), text.encoder().eval()
        model.load_state_dict(trained["transformer"])
        t5.load_state_dict(trained["text_encoder"])
        mean, std = (trained[k].view(-1, 1, 1, 1) for k in ("mean", "std"))
        captions = text.Captions()
        self.rows = torch.randint(len(bank.masks), (COUNT,), generator=generator)
        self.paint = random_paint(COUNT, generator)
        z = ((bank.latents(self.rows, *self.paint) - mean) / std).flatten(2).transpose(1, 2)
        colour, background = self.paint
        shape, motion = (bank.geometry[k][self.rows] for k in ("shape", "motion"))
        levels = sigmas(z.shape[1])
        usable = ((levels > LEVELS[0]) & (levels < LEVELS[1])).nonzero()[:, 0]
        for start in range(0, COUNT, BATCH):
            part = slice(start, start + BATCH)
            ask = (colour[part], shape[part], motion[part], background[part])
            nothing = torch.zeros(len(ask[0]), dtype=torch.bool)
            told, untold = captions.take(*ask, nothing), captions.take(*ask, ~nothing)
            first = int(usable[torch.randint(len(usable), (1,), generator=generator)])
            x = torch.lerp(z[part], torch.randn(z[part].shape, generator=generator), levels[first])
            for now, after in zip(levels[first:-1], levels[first + 1 :]):
                level = now.expand(len(x))
                with_words = dit.velocity(model, t5, x, level, *told)
                without = dit.velocity(model, t5, x, level, *untold)
                x = x + (after - now) * (without + GUIDANCE * (with_words - without))
            z[part] = x
        grid = (COUNT, z.shape[2], *dit.GRID)
        self.z = z.transpose(1, 2).reshape(grid) * std + mean

    def take(self, index):
        return self.z[index], self.bank.clips(self.rows[index], *(p[index] for p in self.paint))

    def batch(self, n, generator):
        return self.take(torch.randint(COUNT - HELD, (n,), generator=generator))

    def held(self):
        return self.take(torch.arange(COUNT - HELD, COUNT))
