"""Scores a model folder: samples the 72 prompts with diffusers and lets `judge` say what the clips show.

`python score.py FOLDER --steps 16 --guidance 3 --takes 2 [--sheet sheet.png]`
"""

import argparse
import pathlib
import time

import torch
from diffusers import LTXPipeline
from PIL import Image

import data
import judge

ASKED = ("colour", "background", "motion", "shape")
SHEET_COLUMNS, SHEET_FRAMES = 6, (0, 8, 16)
BATCH = 12


def load(folder):
    pipe = LTXPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sample(pipe, prompts, take, steps, guidance):
    """Clips (n, t, h, w, 3) in 0..1, and the seconds they took."""
    clips, start = [], time.process_time()
    for first in range(0, len(prompts), BATCH):
        part = prompts[first : first + BATCH]
        seeds = [1000 * take + first + i for i in range(len(part))]
        out = pipe(
            prompt=part,
            negative_prompt=[""] * len(part),
            height=data.SIZE,
            width=data.SIZE,
            num_frames=data.FRAMES,
            frame_rate=data.FPS,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(s) for s in seeds],
            output_type="pt",
        ).frames
        clips.append(out.permute(0, 1, 3, 4, 2))
    return torch.cat(clips), time.process_time() - start


def score(prompts, clips, verbose=False):
    """Share of right answers to each question, share with all right, and the mean shape error."""
    right = {k: 0 for k in (*ASKED, "all")}
    errors = []
    for prompt, clip in zip(prompts, clips):
        want, got = judge.expected(prompt), judge.judge(clip)
        hits = [got[k] == want[k] for k in ASKED]
        for key, hit in zip(ASKED, hits):
            right[key] += hit
        right["all"] += all(hits)
        errors.append(got["shape_error"])
        if verbose and not all(hits):
            print("  wrong:", prompt, {k: got[k] for k in ASKED if got[k] != want[k]})
    shares = {k: v / len(prompts) for k, v in right.items()}
    return shares | {"shape_error": float(torch.tensor(errors).clamp(max=9).median())}


def sheet(clips, path):
    """Three frames of every clip, side by side."""
    edge = torch.ones(clips.shape[2], 4, 3)
    cells = [torch.cat([*(c[t] for t in SHEET_FRAMES), edge], 1) for c in clips]
    blank = torch.ones(4, cells[0].shape[1] * SHEET_COLUMNS, 3)
    rows = []
    for first in range(0, len(cells) - SHEET_COLUMNS + 1, SHEET_COLUMNS):
        rows += [torch.cat(cells[first : first + SHEET_COLUMNS], 1), blank]
    pixels = (torch.cat(rows).clamp(0, 1) * 255).round().byte().numpy()
    Image.fromarray(pixels).save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--prompts", type=pathlib.Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[16])
    parser.add_argument("--guidance", type=float, nargs="+", default=[3.0])
    parser.add_argument("--takes", type=int, default=2)
    parser.add_argument("--sheet", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    prompts = (arguments.prompts or arguments.folder / "prompts.txt").read_text().splitlines()
    pipe = load(arguments.folder)
    print("steps guidance take | colour background motion shape | all | shape error | CPU s a clip")
    for steps in arguments.steps:
        for guidance in arguments.guidance:
            for take in range(arguments.takes):
                clips, seconds = sample(pipe, prompts, take, steps, guidance)
                if arguments.sheet and take == 0:
                    sheet(clips, arguments.sheet)
                got = score(prompts, clips, arguments.verbose)
                four = " ".join(f"{got[k]:.3f}" for k in ASKED)
                tail = f"{got['all']:.3f} | {got['shape_error']:.3f} | {seconds / len(prompts):.2f}"
                print(f"{steps} {guidance:g} {take} | {four} | {tail}", flush=True)


if __name__ == "__main__":
    main()
