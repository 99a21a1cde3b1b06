"""Training of the transformer and its text encoder by flow matching on the codec's latents."""

import signal
import time

import torch
from diffusers import LTXVideoTransformer3DModel
from diffusers.models.transformers import transformer_ltx

import data
import text
from optim import Average, Muon, Schedule
from vae import LATENT

HEADS, HEAD, LAYERS = 3, 48, 6
GRID = (5, 6, 6)  # latent frames, rows, columns
STRIDE = (4 / data.FPS, 16, 16)  # seconds, pixels and pixels between latent neighbours, as LTXPipeline gives them
BATCH = 32
COOL = 300.0  # seconds of the fall after SIGUSR1
DROPPED = 0.1  # share of captions left out, for guidance
NOISE_MEAN, NOISE_SPREAD = 1.2, 1.2  # of the logit of the noise level: high, for that is where motion is settled


def transformer():
    """The untrained model: output zero, gates of attention and feed-forward open."""
    width = HEADS * HEAD
    model = LTXVideoTransformer3DModel(
        in_channels=LATENT,
        out_channels=LATENT,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD,
        cross_attention_dim=width,
        num_layers=LAYERS,
        caption_channels=text.WIDTH,
    )
    with torch.no_grad():
        model.proj_out.weight.zero_()
        model.proj_out.bias.zero_()
        for block in model.transformer_blocks:
            block.scale_shift_table[[2, 5]] = 1.0
    return model


def plain_attention(query, key, value, attn_mask=None, **_):
    """Attention written out: on a CPU its backward pass is far faster than that of torch's own."""
    q, k, v = (t.transpose(1, 2) for t in (query, key, value))
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if attn_mask is not None:
        weights = weights + attn_mask
    return (weights.float().softmax(-1).to(v.dtype) @ v).transpose(1, 2)


def use_plain_attention():
    transformer_ltx.dispatch_attention_fn = plain_attention


class Latents:
    """Packed, normalised latents of the bank's clips in random colours, with their captions."""

    def __init__(self, bank, captions, mean, std):
        self.bank, self.captions = bank, captions
        self.mean, self.std = (t.view(-1, 1, 1, 1).to(bank.device) for t in (mean, std))

    def batch(self, n, generator):
        """Latents (n, tokens, LATENT), ids and mask."""
        geometry = self.bank.geometry
        rows = torch.randint(len(geometry["r"]), (n,), generator=generator)
        colour = torch.randint(len(data.COLOURS), (n,), generator=generator)
        background = torch.randint(len(data.BACKGROUNDS), (n,), generator=generator)
        dropped = torch.rand(n, generator=generator) < DROPPED
        z = (self.bank.latents(rows, colour, background) - self.mean) / self.std
        ids, mask = self.captions.take(colour, geometry["shape"][rows], geometry["motion"][rows], background, dropped)
        return z.flatten(2).transpose(1, 2), ids, mask


def statistics(bank, count=2048, seed=11):
    """latents_mean and latents_std: strong channels keep somewhat more weight, the whole has mean square 1."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(bank.geometry["r"]), (count,), generator=generator)
    colour = torch.randint(len(data.COLOURS), (count,), generator=generator)
    background = torch.randint(len(data.BACKGROUNDS), (count,), generator=generator)
    z = bank.latents(rows, colour, background).transpose(0, 1).flatten(1)
    mean, spread = z.mean(1), z.std(1)
    spread = spread.clamp(min=0.02 * float(spread.max()))
    root = spread.sqrt()
    return mean, root * (spread / root).square().mean().sqrt()


def velocity(model, t5, x, level, ids, mask):
    """The model's guess of noise - latents, as LTXPipeline would ask for it."""
    words = t5(ids)[0][:, : text.CUT]
    frames, height, width = GRID
    return model(
        hidden_states=x,
        encoder_hidden_states=words,
        timestep=level * 1000,
        encoder_attention_mask=mask,
        num_frames=frames,
        height=height,
        width=width,
        rope_interpolation_scale=STRIDE,
        return_dict=False,
    )[0]


def optimisers(model, t5, rate=1.0):
    matrices, rest = [], []
    for name, p in model.named_parameters():
        big = p.ndim == 2 and name.startswith("transformer_blocks.") and "table" not in name
        (matrices if big else rest).append(p)
    rest += list(t5.parameters())
    adam = torch.optim.AdamW(rest, lr=1.5e-3 * rate, betas=(0.9, 0.98), weight_decay=1e-3)
    return [Muon(matrices, lr=0.02 * rate), adam]


def train(model, t5, latents, seconds, log, save, seed=4, rate=1.0, hold=0.45, every=60):
    """Trains both modules in place for `seconds` of wall time and leaves the averaged weights in them.

    `save()` is called every `every` seconds with the averaged weights in place. The learning rate falls with
    the share of the time that is spent, so any length gives a finished model. On SIGUSR1 it falls at once and
    training ends `COOL` seconds later.
    """
    hurry = []
    signal.signal(signal.SIGUSR1, lambda *_: hurry.append(True))
    generator = torch.Generator().manual_seed(seed)
    both = torch.nn.ModuleList([model, t5]).train()
    average = Average(both, keep=0.997)
    steppers = optimisers(model, t5, rate)
    schedule = Schedule(steppers, warm=0.015, hold=hold)
    parameters = list(both.parameters())
    device = latents.bank.device
    start, step, begin, shown, running = time.time(), 0, 0.0, 0.0, 0.0
    while (spent := time.time() - start) < seconds:
        if hurry:
            hurry.clear()
            schedule.fall_from_here()
            begin, seconds = spent, min(seconds, spent + COOL)
        schedule.set((spent - begin) / (seconds - begin))
        z, ids, mask = latents.batch(BATCH, generator)
        level = torch.sigmoid(NOISE_MEAN + NOISE_SPREAD * torch.randn(BATCH, generator=generator)).to(device)
        noise = torch.randn(z.shape, generator=generator).to(device)
        x = torch.lerp(z, noise, level[:, None, None])
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            guess = velocity(model, t5, x, level, ids, mask)
        loss = (guess.float() - (noise - z)).square().mean()
        for stepper in steppers:
            stepper.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for stepper in steppers:
            stepper.step()
        average.update(both)
        step += 1
        keep = min(0.99, 1 - 1 / step)
        running = keep * running + (1 - keep) * loss.item()
        if spent - shown > every:
            shown = spent
            log(f"dit,{spent:.0f},{step},{running:.4f}")
            now = [p.detach().clone() for p in parameters]
            average.copy_to(both)
            save()
            with torch.no_grad():
                for p, value in zip(parameters, now):
                    p.copy_(value)
    average.copy_to(both)
    save()
    log(f"dit,{time.time() - start:.0f},{step},{running:.4f}")
