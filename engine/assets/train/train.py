"""The whole recipe: `python train.py OUT` writes a complete LTXPipeline folder to OUT.

Needs torch, diffusers, transformers and safetensors; no data, no GPU. One thread, about an hour and a half.
Each stage leaves its result in the work folder and is skipped when that is there. `--only STAGE` runs one; the
transformer's then goes on from its last result, at lower rates.
"""

import argparse
import pathlib

import torch

import assemble
import decoder
import dit
import polish
import text
import vae as codec

STAGES = ("codec", "decoder", "dit", "polish", "assemble")
CODEC_CLIPS, DECODER_CLIPS, DIT_CLIPS = 320, 2048, 16384


class Work:
    """The work folder: results of stages, and the log."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, name):
        return (self.folder / name).exists()

    def load(self, name):
        return torch.load(self.folder / name, weights_only=True)

    def save(self, name, value):
        part = self.folder / (name + ".part")
        torch.save(value, part)
        part.replace(self.folder / name)

    def log(self, line):
        print(line, flush=True)
        with open(self.folder / "training.csv", "a") as file:
            file.write(line + "\n")


def load_codec(work, name):
    vae = codec.build(clips=16)
    vae.load_state_dict(work.load(name))
    return vae


def run_codec(work, _):
    work.save("codec.pt", codec.build(clips=CODEC_CLIPS).state_dict())


def saver(work, vae, name):
    """What writes `vae` with another decoder under `name`."""

    def save(trained):
        state = {k: v for k, v in vae.state_dict().items() if not k.startswith("decoder.")}
        state.update({"decoder." + k: v.contiguous() for k, v in trained.state_dict().items()})
        work.save(name, state)

    return save


def run_decoder(work, arguments):
    vae = load_codec(work, "codec.pt")
    bank = codec.Bank(codec.FastEncoder(vae), DECODER_CLIPS, seed=5, keep_masks=DECODER_CLIPS)
    decoder.train(vae, bank, arguments.decoder_minutes * 60, work.log, saver(work, vae, "decoder.pt"))


def run_polish(work, arguments):
    vae, trained = load_codec(work, "decoder.pt"), work.load("dit.pt")
    bank = codec.Bank(codec.FastEncoder(vae), DECODER_CLIPS, seed=6, keep_masks=DECODER_CLIPS)
    pairs = polish.Pairs(bank, trained)
    save = saver(work, vae, "polish.pt")
    plan = dict(pairs=pairs, seed=3, muon_lr=0.01, rest_lr=2e-4, name="polish")
    decoder.train(vae, bank, arguments.polish_minutes * 60, work.log, save, **plan)


def run_dit(work, arguments):
    bank = codec.Bank(codec.FastEncoder(load_codec(work, "codec.pt")), DIT_CLIPS, seed=21)
    mean, std = dit.statistics(bank)
    torch.manual_seed(4)
    model, t5 = dit.transformer(), text.encoder()
    dit.use_plain_attention()

    def save():
        state = {"transformer": model.state_dict(), "text_encoder": t5.state_dict(), "mean": mean, "std": std}
        work.save("dit.pt", state)

    latents = dit.Latents(bank, text.Captions(), mean, std)
    plan = {}
    if work.has("dit.pt"):
        before = work.load("dit.pt")
        model.load_state_dict(before["transformer"])
        t5.load_state_dict(before["text_encoder"])
        plan = dict(seed=5, rate=0.4, hold=0.1)
    dit.train(model, t5, latents, arguments.dit_minutes * 60, work.log, save, **plan)


def run_assemble(work, arguments):
    vae = load_codec(work, "polish.pt" if work.has("polish.pt") else "decoder.pt")
    assemble.write(arguments.out, vae, work.load("dit.pt"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("shapes-work"))
    parser.add_argument("--only", choices=STAGES)
    parser.add_argument("--decoder-minutes", type=float, default=10)
    parser.add_argument("--dit-minutes", type=float, default=75)
    parser.add_argument("--polish-minutes", type=float, default=14)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    work = Work(arguments.work)
    run = dict(codec=run_codec, decoder=run_decoder, dit=run_dit, polish=run_polish, assemble=run_assemble)
    for stage in STAGES:
        if stage == arguments.only or (not arguments.only and not work.has(stage + ".pt")):
            run[stage](work, arguments)


if __name__ == "__main__":
    main()
