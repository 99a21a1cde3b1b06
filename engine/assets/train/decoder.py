"""Training of the decoder: from latents to crisp clips.

The latents get a random amount of noise, so the decoder learns what shapes look like rather than to repeat
the last decimal of a latent. The loss is L1, squared error, and L1 of the differences between neighbouring
pixels and frames, which is what the eye sees of an edge.
"""

import copy
import time

import torch

import data
import vae as codec
from optim import Average, Muon, Schedule

BATCH = 4
EVERY = 60  # seconds between looks at the clips kept for tests
HELD = 32  # the last clips are never trained on
NOISE = 0.10  # most noise on a latent, in spreads of its channel


def differences(x):
    return (x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :], x[:, :, 1:] - x[:, :, :-1])


def loss_of(got, want):
    error = got - want
    total = error.abs().mean() + 4 * error.square().mean()
    for d in differences(error):
        total = total + d.abs().mean()
    return total


def spread_of(z):
    return z.std(dim=(0, 2, 3, 4), keepdim=True)


def random_paint(n, generator):
    return (
        torch.randint(len(data.COLOURS), (n,), generator=generator),
        torch.randint(len(data.BACKGROUNDS), (n,), generator=generator),
    )


def optimisers(decoder, muon_lr, rest_lr):
    residual, rest = [], []
    for name, p in decoder.named_parameters():
        (residual if ".resnets." in name and p.ndim > 1 else rest).append(p)
    adam = torch.optim.AdamW(rest, lr=rest_lr, betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(residual, lr=muon_lr, decay=0.0), adam]


def train(vae, bank, seconds, log, save, pairs=None, seed=2, muon_lr=0.02, rest_lr=3e-4, name="decoder"):
    """Trains `vae.decoder` in place on the clips of `bank` (which must keep its masks), for `seconds`.

    With `pairs` (see polish), half of each batch are latents that the transformer has touched.
    """
    device = bank.device
    generator = torch.Generator().manual_seed(seed)
    decoder = vae.decoder.to(memory_format=torch.channels_last_3d).train()
    average = Average(decoder)
    steppers = optimisers(decoder, muon_lr, rest_lr)
    schedule = Schedule(steppers, warm=0.02, hold=0.5)
    count = len(bank.masks)
    held = HELD
    test_rows = torch.arange(count - held, count)
    test_paint = random_paint(held, generator)
    test_z, test_x = bank.latents(test_rows, *test_paint), bank.clips(test_rows, *test_paint)
    probe = bank.latents(torch.randint(count, (256,), generator=generator), *random_paint(256, generator))
    spread = spread_of(probe)
    start, step, shown, running = time.time(), 0, 0.0, 0.0

    def evaluate():
        shadow = copy.deepcopy(decoder).eval()
        average.copy_to(shadow)
        with torch.no_grad():
            got = torch.cat([shadow(z) for z in test_z.split(8)])
            noisy = test_z + 0.1 * spread * torch.randn(test_z.shape, generator=generator).to(device)
            rough, against = torch.cat([shadow(z) for z in noisy.split(8)]), test_x
            if pairs:
                z, x = pairs.held()
                rough, against = torch.cat([shadow(z) for z in z.split(8)]), x
        return codec.psnr(got, test_x), codec.psnr(rough, against), shadow

    while (spent := time.time() - start) < seconds:
        schedule.set(spent / seconds)
        rows = torch.randint(count - held, (BATCH,), generator=generator)
        paint = random_paint(BATCH, generator)
        z, x = bank.latents(rows, *paint), bank.clips(rows, *paint)
        level = NOISE * torch.rand(BATCH, 1, 1, 1, 1, generator=generator)
        z = z + (level * torch.randn(z.shape, generator=generator)).to(device) * spread
        if pairs:
            touched, drawn = pairs.batch(BATCH // 2, generator)
            z[: BATCH // 2], x[: BATCH // 2] = touched, drawn
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            got = decoder(z.to(memory_format=torch.channels_last_3d))
        loss = loss_of(got.float(), x)
        for stepper in steppers:
            stepper.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
        average.update(decoder)
        running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
        step += 1
        if spent - shown > EVERY:
            shown = spent
            clean, rough, shadow = evaluate()
            log(f"{name},{spent:.0f},{step},{running:.4f},{clean:.2f},{rough:.2f}")
            save(shadow)
    average.copy_to(decoder)
    clean, rough, shadow = evaluate()
    save(shadow)
    log(f"{name},{time.time() - start:.0f},{step},{running:.4f},{clean:.2f},{rough:.2f}")
    return clean
