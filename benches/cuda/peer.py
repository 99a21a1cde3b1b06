#!/usr/bin/env python3
"""LTX-Video in diffusers on this machine's GPU, at real size with seeded random weights: what `deploy/cuda/check` sets beside Croft.

    python benches/cuda/peer.py [--only 13b,2b,vae] [--quick] [--seconds 170]

It needs torch and diffusers, and no network. A row of JSON a measurement goes to standard output, and to the end of the file
that CROFT_CHECK_OUT names (deploy/cuda/README.md says what a row holds):

    eager    bfloat16, torch's scaled_dot_product_attention: diffusers as it comes
    compile  the same after `compile_repeated_blocks(fullgraph=True)`; what that took has a row of its own
    decode   the autoencoder of 0.9.5, from latents to frames

A call is one forward of the transformer as `LTXPipeline` makes it. `b2` has both branches of guidance in a batch, so it is a
step; `b1` is a step without guidance. Each model has a process of its own: the next imports while one measures, and one
that fails or takes too long costs its own rows only. `--device cpu --tiny` tries every line of it where there is no GPU.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

SEED = 7
TEXT_TOKENS, TEXT_WIDTH = 128, 4096
# Of the negative and the positive prompt, as the pipeline orders them.
REAL_TOKENS = (2, 24)
MODELS = {
    "2b": dict(num_attention_heads=32, attention_head_dim=64, cross_attention_dim=2048, num_layers=28),
    "13b": dict(num_attention_heads=32, attention_head_dim=128, cross_attention_dim=4096, num_layers=48),
}
# The decoder is the published one. The encoder takes no part in text to video: the smallest that its class allows, so that
# diffusers is not charged its memory.
VAE = dict(
    in_channels=3, out_channels=3, latent_channels=128, block_out_channels=(8, 8, 16, 16, 16), down_block_types=("LTXVideo095DownBlock3D",) * 4,
    decoder_block_out_channels=(256, 512, 1024), layers_per_block=(1,) * 5, decoder_layers_per_block=(5,) * 4, spatio_temporal_scaling=(True,) * 4,
    decoder_spatio_temporal_scaling=(True,) * 3, decoder_inject_noise=(False,) * 4,
    downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"), upsample_residual=(True,) * 3, upsample_factor=(2,) * 3,
    timestep_conditioning=True, patch_size=4, patch_size_t=1, encoder_causal=True, decoder_causal=False,
    spatial_compression_ratio=32, temporal_compression_ratio=8)
LARGE, SMALL = (768, 512, 121), (256, 256, 9)
# What is timed of a model, in this order: way, size, batch. Eager comes first, for a compiled block stays compiled.
PLANS = {
    "13b": [("eager", LARGE, 2), ("eager", LARGE, 1), ("compile", LARGE, 2)],
    "2b": [("eager", LARGE, 2), ("eager", LARGE, 1), ("eager", SMALL, 2), ("eager", SMALL, 1), ("compile", SMALL, 2), ("compile", LARGE, 2)],
}
QUICK = {"13b": [("eager", LARGE, 2), ("compile", LARGE, 2)], "2b": [("eager", LARGE, 2), ("eager", SMALL, 2), ("compile", SMALL, 2)]}


def row(name, shape, value, unit, note=""):
    """Say what was measured, and keep it at once: a later case may not end well."""
    line = json.dumps(dict(section="diffusers", name=name, shape=shape, value=value, unit=unit, bound=None, ok=None, note=note))
    print(line, flush=True)
    if os.environ.get("CROFT_CHECK_OUT"):
        with open(os.environ["CROFT_CHECK_OUT"], "a") as out:
            out.write(line + "\n")


def latent(size):
    """(frames, height, width) of the latents of a clip; the transformer has a token each."""
    width, height, frames = size
    return (frames - 1) // 8 + 1, height // 32, width // 32


def label(model, size, batch):
    return "ltx-{} {}x{}x{} b{}".format(model, *size, batch)


def flops(config, tokens, batch):
    """Of the linear layers of all blocks and of their attention; norms, modulation and what lies around the blocks are left out."""
    d = config["num_attention_heads"] * config["attention_head_dim"]
    linear = 2 * d * d * (14 * tokens + 2 * TEXT_TOKENS)
    attention = 4 * d * tokens * (tokens + TEXT_TOKENS)
    return batch * config["num_layers"] * (linear + attention)


# ---------------------------------------------------------------------------------------------- one process, one model

class Machine:
    """The device that is measured, and how its clock is read."""

    def __init__(self, torch, device):
        self.torch, self.device, self.real = torch, device, device == "cuda"

    def sync(self):
        if self.real:
            self.torch.cuda.synchronize()

    def once(self, call):
        self.sync()
        began = time.perf_counter()
        call()
        self.sync()
        return time.perf_counter() - began

    def seconds(self, call):
        """The median over groups of calls, each from idle to idle; a group is long enough that its ends do not matter."""
        for _ in range(2):
            one = self.once(call)
        calls = max(1, min(100, int(0.3 / one)))

        def group():
            for _ in range(calls):
                call()

        return statistics.median(self.once(group) / calls for _ in range(5 if one < 0.2 else 3))

    def peak_gib(self, call):
        if not self.real:
            return 0.0
        self.sync()
        self.torch.cuda.reset_peak_memory_stats()
        call()
        self.sync()
        return self.torch.cuda.max_memory_allocated() / 2**30

    def build(self, make):
        """A module made in bfloat16 where it stays, its weights from one seed."""
        self.torch.manual_seed(SEED)
        self.torch.set_default_dtype(self.torch.bfloat16)
        try:
            with self.torch.device(self.device):
                return make().eval()
        finally:
            self.torch.set_default_dtype(self.torch.float32)

    def random(self, *shape):
        return self.torch.randn(*shape, device=self.device, dtype=self.torch.bfloat16)


def matmul(machine, tiny):
    """TFLOP/s of a large product, of this torch on this device: what every other rate is a share of."""
    n = 256 if tiny else 8192
    a, b = machine.random(n, n), machine.random(n, n)
    out = machine.torch.empty_like(a)
    rate = 2 * n**3 / machine.seconds(lambda: machine.torch.matmul(a, b, out=out)) / 1e12
    row("matmul", f"{n}x{n}x{n} bf16", rate, "TFLOP/s")
    return rate


def inputs(machine, size, batch):
    torch = machine.torch
    frames, height, width = latent(size)
    mask = torch.zeros(batch, TEXT_TOKENS, device=machine.device, dtype=torch.bool)
    for at, tokens in enumerate(REAL_TOKENS[-batch:]):
        mask[at, :tokens] = True
    return dict(
        hidden_states=machine.random(batch, frames * height * width, 128), encoder_hidden_states=machine.random(batch, TEXT_TOKENS, TEXT_WIDTH),
        timestep=torch.full((batch,), 900.0, device=machine.device), encoder_attention_mask=mask,
        num_frames=frames, height=height, width=width, rope_interpolation_scale=(8 / 25, 32, 32), return_dict=False)


def transformer(machine, diffusers, name, args):
    config = dict(MODELS[name], num_layers=2, num_attention_heads=2, attention_head_dim=12, cross_attention_dim=24) if args.tiny else MODELS[name]
    began = time.perf_counter()
    model = machine.build(lambda: diffusers.LTXVideoTransformer3DModel(**config))
    machine.sync()
    weights = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**30
    row("weights", f"ltx-{name}", weights, "GiB", f"made in {time.perf_counter() - began:.1f} s")
    best = matmul(machine, args.tiny)
    # Each size is compiled for itself, as a farm that renders one size would have it.
    machine.torch._dynamo.config.automatic_dynamic_shapes = False
    compiled = False
    for way, size, batch in (QUICK if args.quick else PLANS)[name]:
        size = tuple(max(64, s // 8) if s > 200 else 9 for s in size) if args.tiny else size
        shape, given = label(name, size, batch), inputs(machine, size, batch)

        def call():
            return model(**given)[0]

        with machine.torch.no_grad():
            if way == "compile":
                if not compiled:
                    model.compile_repeated_blocks(fullgraph=True)
                    compiled = True
                first = machine.once(call)
            finite = bool(call().isfinite().all())
            took = machine.seconds(call)
            peak = machine.peak_gib(call)
        tokens = given["hidden_states"].shape[1]
        rate = flops(config, tokens, batch) / took / 1e12
        row(f"{way} call", shape, took * 1e3, "ms", "" if finite else "not finite")
        row(f"{way} rate", shape, rate, "TFLOP/s", f"{rate / best:.1%} of this torch's own product")
        row(f"{way} peak", shape, peak, "GiB")
        if way == "compile":
            row("compile time", shape, first - took, "s", "the first call, less a later one")


def decode(machine, diffusers, args):
    config = dict(VAE, decoder_block_out_channels=(16, 32, 64), decoder_layers_per_block=(1,) * 4) if args.tiny else VAE
    size = (64, 64, 9) if args.tiny else LARGE
    vae = machine.build(lambda: diffusers.AutoencoderKLLTXVideo(**config))
    latents = machine.random(1, 128, *latent(size))
    timestep = machine.torch.tensor([0.05], device=machine.device, dtype=machine.torch.bfloat16)

    def call():
        return vae.decode(latents, timestep, return_dict=False)[0]

    with machine.torch.no_grad():
        frames = call()
        assert tuple(frames.shape[2:]) == (size[2], size[1], size[0]), frames.shape
        note = "" if bool(frames.isfinite().all()) else "not finite"
        del frames
        took = machine.seconds(call)
        peak = machine.peak_gib(call)
    shape = "vae-0.9.5 {}x{}x{}".format(*size)
    row("decode", shape, took * 1e3, "ms", note)
    row("decode peak", shape, peak, "GiB")


def child(args):
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import diffusers
    diffusers.utils.logging.set_verbosity_error()
    if sys.stdin.readline() != "go\n":
        return  # whoever would have said it is gone
    print(f"{args.child}: torch {torch.__version__}, diffusers {diffusers.__version__}", file=sys.stderr, flush=True)
    machine = Machine(torch, args.device)
    if args.child == "vae":
        decode(machine, diffusers, args)
    else:
        transformer(machine, diffusers, args.child, args)


# ---------------------------------------------------------------------------------------------- all of them

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="13b,2b,vae")
    parser.add_argument("--quick", action="store_true", help="only what has a bound or stands in the README")
    parser.add_argument("--seconds", type=float, default=170, help="for all of them together")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="no model that anybody has: to try this program")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args)
    names, ends, failed = args.only.split(","), time.monotonic() + args.seconds, []
    with tempfile.TemporaryDirectory() as cache:
        # What another run compiled would make ours look quick.
        env = dict(os.environ, TORCHINDUCTOR_CACHE_DIR=cache, TRITON_CACHE_DIR=str(pathlib.Path(cache) / "triton"))
        passed_on = ["--device", args.device] + ["--quick"] * args.quick + ["--tiny"] * args.tiny
        command = [sys.executable, __file__, *passed_on, "--child"]
        waiting = {name: subprocess.Popen([*command, name], env=env, stdin=subprocess.PIPE, start_new_session=True) for name in names}
        for name, process in waiting.items():
            try:
                process.communicate(b"go\n", timeout=max(1, ends - time.monotonic()))
                problem = f"ended with {process.returncode}" if process.returncode else None
            except subprocess.TimeoutExpired:
                problem = "took too long"
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, 9)
                    process.wait()
            if problem:
                failed.append(name)
                print(f"{name}: {problem}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
