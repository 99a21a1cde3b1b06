"""The video codec: an `AutoencoderKLLTXVideo` whose encoder is written down, not trained.

The encoder is an exact three-level principal component analysis (4x4 pixels, then 8x8x2, then 16x16x4),
laid into the convolutions of the diffusers model. Being almost linear, it also lets us build the latents of
a clip from those of its outline, whatever the colours (`Bank`). The decoder starts as the inverse of the
encoder and is then trained to draw crisp edges, from latents that carry some noise, so that it forgives
the transformer small mistakes.
"""

import torch
from diffusers import AutoencoderKLLTXVideo

import data

PATCH = 4
LATENT = 48  # latent channels
BLOCK = (4, 16, 16)  # frames, rows and columns behind one latent token
WIDTH_ENC = 66  # encoder channels: features of a level plus one that holds a constant
WIDTH_DEC = 64
FEATURES = WIDTH_ENC - 1
PIXELS = 3 * PATCH * PATCH  # features of the first level: all of them, it loses nothing
PAIRS = WIDTH_DEC // 2 - 1  # pixel features the untrained decoder carries, each as +x and -x
CONSTANT = 200.0  # the constant channel over the largest feature vector: keeps norm and SiLU linear

CONFIG = dict(
    in_channels=3,
    out_channels=3,
    latent_channels=LATENT,
    block_out_channels=(WIDTH_ENC, WIDTH_ENC),
    decoder_block_out_channels=(WIDTH_DEC, WIDTH_DEC),
    down_block_types=("LTXVideoDownBlock3D", "LTXVideoDownBlock3D"),
    layers_per_block=(0, 0, 0),
    decoder_layers_per_block=(1, 2, 1),
    spatio_temporal_scaling=(True, True),
    decoder_spatio_temporal_scaling=(True, True),
    decoder_inject_noise=(False, False, False),
    downsample_type=("conv", "conv"),
    upsample_residual=(False, False),
    upsample_factor=(1, 1),
    timestep_conditioning=False,
    patch_size=PATCH,
    patch_size_t=1,
    encoder_causal=True,
    decoder_causal=False,
    scaling_factor=1.0,
)


def patches(video):
    """(n, c, t, h, w) to (n, t, h/4, w/4, c*16), in the model's own order (column before row)."""
    n, c, t, h, w = video.shape
    v = video.reshape(n, c, t, h // PATCH, PATCH, w // PATCH, PATCH)
    return v.permute(0, 2, 3, 5, 1, 6, 4).reshape(n, t, h // PATCH, w // PATCH, c * PATCH * PATCH)


def blocks(features, causal=True):
    """(n, t, h, w, c) to (n, (t+1)/2, h/2, w/2, c*8): 2x2x2 neighbours side by side, first frame twice if causal."""
    f = torch.cat([features[:, :1], features], dim=1) if causal else features
    n, t, h, w, c = f.shape
    f = f.reshape(n, t // 2, 2, h // 2, 2, w // 2, 2, c)
    return f.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, t // 2, h // 2, w // 2, c * 8)


def principal(x, k):
    """Mean and the k leading principal directions of the rows of x."""
    mean = x.mean(0)
    centred = (x - mean).double()
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return mean, vectors.flip(1)[:, :k].T.float()


class Codec:
    """The three levels as plain matrices."""

    def __init__(self, clips):
        flat = patches(clips).flatten(0, -2)
        keep = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))[:200_000]
        self.mean0, self.w0 = principal(flat[keep], PIXELS)
        f0 = (patches(clips) - self.mean0) @ self.w0.T
        self.mean1, self.w1 = principal(blocks(f0).flatten(0, -2), FEATURES)
        # The inner mean is taken out once, at the last level: features stay linear in the picture.
        f1 = blocks(f0) @ self.w1.T
        self.mean2, self.w2 = principal(blocks(f1).flatten(0, -2), LATENT)
        y = (blocks(f1) - self.mean2) @ self.w2.T
        self.shift = self.w2 @ self.mean2
        spread = y.flatten(0, -2).std(0)
        self.constant = float(CONSTANT * y.norm(dim=-1).max())
        self.rms = (self.constant**2 / WIDTH_ENC) ** 0.5
        # Half-whitened, the strongest latent has spread 1; SiLU halves small numbers, hence the 2.
        self.unit = (spread / spread[0]) ** 0.5 / spread  # latent per feature
        self.gain = 2 * self.rms * self.unit
        self.scale0 = f0.norm(dim=-1).max() / 4
        self.scale1 = f1.norm(dim=-1).max() / 4
        self.pixel_norm = float((f0[..., :PAIRS] / self.scale0).norm(dim=-1).max())

    def fill(self, vae):
        """Write the analysis into the encoder and its inverse into the decoder."""
        enc, dec = vae.encoder, vae.decoder
        with torch.no_grad():
            for parameter in enc.parameters():
                parameter.zero_()
            conv = enc.conv_in.conv
            conv.weight[:PIXELS, :, 2, 1, 1] = self.w0
            conv.bias[:PIXELS] = -self.w0 @ self.mean0
            conv = enc.down_blocks[0].downsamplers[0].conv
            conv.weight[:FEATURES, :PIXELS, 1:, 1:, 1:] = self.w1.reshape(FEATURES, PIXELS, 2, 2, 2)
            conv = enc.down_blocks[1].downsamplers[0].conv
            conv.weight[:LATENT, :FEATURES, 1:, 1:, 1:] = self.w2.reshape(LATENT, FEATURES, 2, 2, 2)
            conv.bias[:LATENT] = -self.shift
            conv.bias[-1] = self.constant
            conv = enc.conv_out.conv
            conv.weight[:LATENT, :LATENT, 2, 1, 1] = torch.diag(self.gain)
            conv.bias[LATENT] = -14.0  # log variance: the latent is its mean

            conv = dec.conv_in.conv
            conv.weight.zero_()
            conv.weight[:LATENT, :, 1, 1, 1] = torch.eye(LATENT)
            conv.bias.zero_()
            for block in [*dec.mid_block.resnets, *(r for up in dec.up_blocks for r in up.resnets)]:
                block.conv2.conv.weight.zero_()
                block.conv2.conv.bias.zero_()
            conv = dec.up_blocks[0].upsamplers[0].conv.conv
            conv.weight.zero_()
            back = (self.w2 / self.unit[:, None] / self.scale1).T.reshape(FEATURES, 8, LATENT)
            bias = (self.w2.T @ self.shift / self.scale1).reshape(FEATURES, 8)
            k = min(FEATURES, WIDTH_DEC)
            conv.weight.view(WIDTH_DEC, 8, WIDTH_DEC, 3, 3, 3)[:k, :, :LATENT, 1, 1, 1] = back[:k]
            conv.bias.view(WIDTH_DEC, 8).zero_()[:k] = bias[:k]
            conv = dec.up_blocks[1].upsamplers[0].conv.conv
            conv.weight.zero_()
            back = (self.w1[:k] * self.scale1 / self.scale0).T.reshape(PIXELS, 8, k)[:PAIRS]
            weight = conv.weight.view(WIDTH_DEC, 8, WIDTH_DEC, 3, 3, 3)
            weight[:PAIRS, :, :k, 1, 1, 1] = back
            weight[PAIRS : 2 * PAIRS, :, :k, 1, 1, 1] = -back
            conv.bias.view(WIDTH_DEC, 8).zero_()[-1] = 2.5 * self.pixel_norm
            root = ((2.5 * self.pixel_norm) ** 2 / WIDTH_DEC) ** 0.5
            conv = dec.conv_out.conv
            conv.weight.zero_()
            back = self.w0[:PAIRS].T * self.scale0 * root
            conv.weight[:, :PAIRS, 1, 1, 1] = back
            conv.weight[:, PAIRS : 2 * PAIRS, 1, 1, 1] = -back
            conv.bias.copy_(self.mean0)


class FastEncoder:
    """The encoder of a filled VAE as three matrix products; the same numbers, a fiftieth of the work."""

    def __init__(self, vae, device="cpu"):
        enc = vae.encoder
        take = lambda t: t.detach().float().to(device)
        conv = enc.conv_in.conv
        self.w0, self.b0 = take(conv.weight[:, :, 2, 1, 1]), take(conv.bias)
        down = [block.downsamplers[0].conv for block in enc.down_blocks]
        self.w1 = take(down[0].weight[:, :, 1:, 1:, 1:]).flatten(1)
        self.w2 = take(down[1].weight[:, :, 1:, 1:, 1:]).flatten(1)
        self.b1, self.b2 = take(down[0].bias), take(down[1].bias)
        self.w3 = take(enc.conv_out.conv.weight[:LATENT, :, 2, 1, 1])

        # All three levels in one matrix: what each pixel of a block of 4x16x16 adds to each feature.
        unit = torch.eye(BLOCK[0] * BLOCK[1] * BLOCK[2], device=device).view(-1, 1, *BLOCK)
        p, area, whole = patches(unit), PATCH * PATCH, []
        for c in range(3):
            f = p @ self.w0[:, c * area : (c + 1) * area].T
            whole.append((blocks(blocks(f, False) @ self.w1.T, False) @ self.w2.T)[:, 0, 0, 0, :LATENT])
        self.whole = torch.stack(whole, 1).flatten(1)

    def linear(self, channel_videos):
        """Features (channel, n, t, h, w, LATENT), bias left out, of one-channel videos taken as red, green, blue."""
        v = channel_videos[:, 0]
        t, h, w = BLOCK
        v = torch.cat([v[:, :1].expand(-1, t - 1, -1, -1), v], dim=1)
        n, frames, height, width = v.shape
        v = v.reshape(n, frames // t, t, height // h, h, width // w, w).permute(0, 1, 3, 5, 2, 4, 6)
        f = v.flatten(4) @ self.whole
        return f.unflatten(-1, (3, LATENT)).movedim(-2, 0)

    def bias(self):
        """What the biases alone give at the last level."""
        f1 = self.b0.repeat_interleave(8) @ self.w1.T + self.b1
        return f1.repeat_interleave(8) @ self.w2.T + self.b2

    def finish(self, y):
        """Features with bias to latents (n, LATENT, t, h, w): norm, SiLU, last convolution."""
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-8)
        return (torch.nn.functional.silu(y) @ self.w3.T).movedim(-1, 1)

    def encode(self, clips):
        inked = sum(self.linear(clips[:, c : c + 1])[c] for c in range(3))
        y = self.bias().expand(*inked.shape[:-1], -1).clone()
        y[..., :LATENT] += inked
        return self.finish(y)


class Bank:
    """Many outlines in motion, kept as features; any colours and background can be given to them later."""

    def __init__(self, fast, count, seed, device="cpu", keep_masks=0, chunk=16):
        generator = torch.Generator().manual_seed(seed)
        self.fast, self.device = fast, device
        self.geometry = data.sample_geometry(count, generator)
        self.masks = []
        self.features = None
        ramp = data.ramp(device)[:, None]
        for start in range(0, count, chunk):
            part = {k: v[start : start + chunk] for k, v in self.geometry.items()}
            masks = data.render_masks(part, device)
            f = torch.stack([fast.linear(m[:, None]) for m in (masks, masks * ramp)], 1)
            if self.features is None:
                self.features = torch.empty(count, *f.shape[:2], *f.shape[3:], dtype=torch.float16, device=device)
            self.features[start : start + len(masks)] = f.permute(2, 0, 1, 3, 4, 5, 6).half()
            if start < keep_masks:
                self.masks.append((masks * 255).round().byte())
        self.masks = torch.cat(self.masks) if self.masks else None
        flat = torch.ones(1, 1, data.FRAMES, data.SIZE, data.SIZE, device=device)
        self.one, self.ramp = fast.linear(flat)[:, 0], fast.linear(flat * ramp)[:, 0]
        self.offset = fast.bias()
        self.fg = torch.tensor(list(data.COLOURS.values()), device=device)
        self.bg = torch.tensor(list(data.BACKGROUNDS.values()), device=device)

    def latents(self, rows, colour, background):
        """Raw latents (n, LATENT, t, h, w) of outlines `rows` painted with colour and background indices."""
        fg, top = self.fg[colour], self.bg[background, 0]
        slope = self.bg[background, 1] - top
        shape = lambda w: w.T.reshape(3, -1, 1, 1, 1, 1)
        f = self.features[rows.to(self.device)].float()
        plain = (self.one[:, None] * shape(2 * top - 1)).sum(0) + (self.ramp[:, None] * shape(2 * slope)).sum(0)
        y = self.offset.expand(*plain.shape[:-1], -1).clone()
        y[..., :LATENT] += plain
        inked = torch.stack([2 * (fg - top), -2 * slope], 2)  # (n, 3, 2)
        y[..., :LATENT] += torch.einsum("nck,ncktyxl->ntyxl", inked, f)
        return self.fast.finish(y)

    def clips(self, rows, colour, background):
        names = lambda table, index: [list(table)[i] for i in index.tolist()]
        masks = self.masks[rows].to(self.device).float() / 255
        return data.paint(masks, names(data.COLOURS, colour), names(data.BACKGROUNDS, background))


def build(seed=1, clips=320, device="cpu"):
    """A VAE in closed form; its weights are already rounded to bfloat16, as they will be stored."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    vae = AutoencoderKLLTXVideo(**CONFIG)
    codec = Codec(data.random_clips(clips, generator)[0])
    codec.fill(vae)
    with torch.no_grad():
        for parameter in vae.encoder.parameters():
            parameter.copy_(parameter.bfloat16())
    return vae.to(device)


def psnr(a, b):
    return float(-10 * torch.log10(((a - b) / 2).square().mean()))
