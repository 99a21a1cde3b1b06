#!/usr/bin/env python3
"""Croft and diffusers render the same clips on the same machine, and their CPU time and peak memory stand in one table.

    python benches/vs_diffusers.py [--croft target/release/croft] [--cases builtin,golden,middle] [--threads 1] [--runs 5]

Run it with an interpreter that has torch and diffusers. Three cases, all f32, with guidance:

    builtin  the model inside the program, at its own size
    golden   the tiny random pipeline of tests/numerics, 96x96, 17 frames, 20 steps: what a clip costs beside its model
    middle   a seeded random LTX-Video, 8 heads x 64, 8 layers, the 0.9.5 decoder at a quarter of its widths,
             512x320, 25 frames, 10 steps: matrix products, attention and convolutions weigh as in the published ones

Each side runs in a fresh process, in turns, so that a machine that slows down slows both. CPU seconds are user + system
of the process and all its children. Peak memory is the sum of the high-water marks of its processes. diffusers is
given twice: the whole process, and without its imports (load, render, save), which is what a long-lived Python server
would pay; croft is always the whole process, PNG files included. The frames of both are compared, so that a fast wrong
answer shows. Results go to benches/results/vs_diffusers.{md,json}.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROMPT, NEGATIVE, SEED = "a red circle moving right on a blue background", "blurry", 42
CASES = {
    "builtin": dict(size=(96, 96), num_frames=17, steps=20, guidance=3.0),
    "golden": dict(size=(96, 96), num_frames=17, steps=20, guidance=3.0),
    "middle": dict(size=(512, 320), num_frames=25, steps=10, guidance=3.0, decode_timestep=0.05, decode_noise_scale=0.025),
}


# ---------------------------------------------------------------------------------------------- the middle model

def make_middle(folder):
    """Write the middle-size pipeline, weights from a fixed seed, in the layout of the published folders."""
    import diffusers
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    torch.manual_seed(7)
    special = ["<pad>", "</s>", "<unk>"]
    vocab = {t: i for i, t in enumerate(special + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tok.add_special_tokens(special)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=tok, pad_token="<pad>", eos_token="</s>", model_max_length=128)
    text = transformers.T5EncoderModel(transformers.T5Config(
        vocab_size=len(vocab), d_model=512, d_kv=64, d_ff=1280, num_layers=4, num_heads=8, feed_forward_proj="gated-gelu", dropout_rate=0.0))
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=128, out_channels=128, num_attention_heads=8, attention_head_dim=64, cross_attention_dim=512, num_layers=8, caption_channels=512)
    # The decoder is the published 0.9.5 one at a quarter of its widths. The encoder takes no part in text to video: the
    # smallest that its class allows, so that diffusers does not pay for loading it.
    vae = diffusers.AutoencoderKLLTXVideo(
        in_channels=3, out_channels=3, latent_channels=128, block_out_channels=(8, 8, 16, 16, 16), down_block_types=("LTXVideo095DownBlock3D",) * 4,
        decoder_block_out_channels=(64, 128, 256), layers_per_block=(1,) * 5, decoder_layers_per_block=(5,) * 4, spatio_temporal_scaling=(True,) * 4,
        decoder_spatio_temporal_scaling=(True,) * 3, decoder_inject_noise=(False,) * 4,
        downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"), upsample_residual=(True,) * 3, upsample_factor=(2,) * 3,
        timestep_conditioning=True, patch_size=4, patch_size_t=1, encoder_causal=True, decoder_causal=False,
        spatial_compression_ratio=32, temporal_compression_ratio=8)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, max_image_seq_len=4096, shift_terminal=0.1)
    pipe = diffusers.LTXPipeline(scheduler=scheduler, vae=vae, text_encoder=text, tokenizer=tokenizer, transformer=transformer)
    pipe.save_pretrained(folder)


# ---------------------------------------------------------------------------------------------- diffusers' side

def child(spec):
    """Render one clip with diffusers in this process and print what it cost, stage by stage."""
    import torch
    torch.set_num_threads(spec["threads"])
    import diffusers
    diffusers.utils.logging.set_verbosity_error()
    pipeline = diffusers.LTXPipeline
    imported, imported_kb = time.process_time(), rss_now_kb()
    pipe = pipeline.from_pretrained(spec["model"], torch_dtype=torch.float32, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    loaded = time.process_time()
    extra = {k: spec[k] for k in ("decode_timestep", "decode_noise_scale") if k in spec}
    frames = pipe(prompt=PROMPT, negative_prompt=NEGATIVE, width=spec["size"][0], height=spec["size"][1], num_frames=spec["num_frames"],
                  num_inference_steps=spec["steps"], guidance_scale=spec["guidance"], generator=torch.Generator().manual_seed(SEED), **extra).frames[0]
    rendered = time.process_time()
    out = pathlib.Path(spec["out"])
    for i, frame in enumerate(frames, 1):
        frame.save(out / f"{i:04}.png")
    print(json.dumps(dict(import_cpu_s=imported, load_cpu_s=loaded - imported, render_cpu_s=rendered - loaded,
                          save_cpu_s=time.process_time() - rendered, import_kb=imported_kb)))


def rss_now_kb():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


# ---------------------------------------------------------------------------------------------- measuring

def high_water_kb(pid, seen):
    """Note the high-water mark of `pid` and of all that descend from it; a mark only rises, so the last sample stands."""
    try:
        for line in open(f"/proc/{pid}/status"):
            if line.startswith("VmHWM"):
                seen[pid] = max(seen.get(pid, 0), int(line.split()[1]))
        children = open(f"/proc/{pid}/task/{pid}/children").read().split()
        for task in os.listdir(f"/proc/{pid}/task"):
            if task != str(pid):
                children += open(f"/proc/{pid}/task/{task}/children").read().split()
        for c in children:
            high_water_kb(int(c), seen)
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended while we looked


def measure(command, env, log, threads):
    """Run `command` on as many cores as it may have threads; CPU seconds of it and its children, peak memory in MB over
    its processes, wall seconds."""
    started, seen = time.monotonic(), {}
    with open(log, "wb") as sink:
        # croft shares out the cores it sees, torch is told; held to the same ones, both have the same threads.
        cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:threads])
        process = subprocess.Popen(["taskset", "-c", cores, *(str(c) for c in command)], env=env, stdout=sink, stderr=subprocess.STDOUT)
    while True:
        high_water_kb(process.pid, seen)
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(0.01)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} ended with {process.returncode}:\n{open(log, errors='replace').read()[-4000:]}")
    # A short-lived process may escape the samples; its own account is then the better number.
    peak_kb = max(sum(seen.values()), usage.ru_maxrss)
    return dict(cpu_s=usage.ru_utime + usage.ru_stime, peak_mb=peak_kb / 1024, wall_s=time.monotonic() - started)


def run_diffusers(model, case, threads, work):
    out = work / "diffusers"
    out.mkdir(exist_ok=True)
    spec = dict(case, model=str(model), threads=threads, out=str(out))
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1")
    result = measure([sys.executable, __file__, "--child", json.dumps(spec)], env, work / "diffusers.log", threads)
    stages = json.loads((work / "diffusers.log").read_text().strip().splitlines()[-1])
    return dict(result, **stages, frames=sorted(out.glob("*.png")))


def run_croft(croft, model, case, threads, work):
    out = work / "croft"
    subprocess.run(["rm", "-rf", str(out)], check=True)
    command = [croft, "render", "--model", model, "--prompt", PROMPT, "--negative-prompt", NEGATIVE, "--seed", SEED, "--steps", case["steps"],
               "--guidance", case["guidance"], "--size", "{}x{}".format(*case["size"]), "--num-frames", case["num_frames"], "-o", out]
    for key in ("decode_timestep", "decode_noise_scale"):
        if key in case:
            command += ["--set", f"params.{key}={case[key]}"]
    result = measure(command, dict(os.environ), work / "croft.log", threads)
    frames = sorted(p for p in out.rglob("*.png") if p.stem.isdigit())
    return dict(result, frames=frames)


def difference(a, b):
    """The largest difference of two lists of frames, in steps of 1/255."""
    import numpy
    from PIL import Image
    if len(a) != len(b) or not a:
        sys.exit(f"{len(a)} frames against {len(b)}")
    read = lambda p: numpy.asarray(Image.open(p).convert("RGB")).astype(int)
    return max(int(abs(read(x) - read(y)).max()) for x, y in zip(a, b))


# ---------------------------------------------------------------------------------------------- the table

def table(results, versions):
    lines = [
        f"{versions['cpu']}, {versions['threads']} thread(s); torch {versions['torch']}, diffusers {versions['diffusers']}; "
        f"medians of {versions['runs']} runs in turns. `python benches/vs_diffusers.py --threads {versions['threads']}` repeats it.",
        "",
        "| case | | croft | diffusers, whole process | ratio | diffusers without imports | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, r in results.items():
        c, d = r["croft"], r["diffusers"]
        cpu, peak = c["cpu_s"], c["peak_mb"]
        lines.append(f"| {r['label']} | CPU s | {cpu:.2f} | {d['cpu_s']:.2f} | {cpu / d['cpu_s']:.2f} | {d['own_cpu_s']:.2f} | {cpu / d['own_cpu_s']:.2f} |")
        lines.append(f"| | peak MB | {peak:.0f} | {d['peak_mb']:.0f} | {peak / d['peak_mb']:.2f} | {d['own_mb']:.0f} | {peak / d['own_mb']:.2f} |")
        lines.append(f"| | wall s | {c['wall_s']:.2f} | {d['wall_s']:.2f} | {c['wall_s'] / d['wall_s']:.2f} | | |")
    lines += ["", "Largest difference between the two renders, in 1/255: " + ", ".join(f"{n} {r['difference']}" for n, r in results.items()) + "."]
    return "\n".join(lines) + "\n"


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--croft", default=ROOT / "target/release/croft", type=pathlib.Path)
    parser.add_argument("--cases", default="builtin,golden,middle")
    parser.add_argument("--threads", default=1, type=int)
    parser.add_argument("--runs", default=5, type=int)
    parser.add_argument("--cache", default=pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "croft-bench", type=pathlib.Path)
    parser.add_argument("--builtin", default=ROOT / "engine/assets/shapes", type=pathlib.Path, help="the built-in model as a diffusers folder")
    parser.add_argument("--golden", default=ROOT / "tests/numerics/golden/ltx/pipe", type=pathlib.Path)
    parser.add_argument("--results", default=ROOT / "benches/results", type=pathlib.Path)
    parser.add_argument("--only", choices=["croft", "diffusers"], help="measure one side and print it; writes no table")
    parser.add_argument("--make-middle", action="store_true", help="only write the middle-size model folder and print its path")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(json.loads(args.child))
    middle = args.cache / "ltx-middle-1"
    names = args.cases.split(",")
    if (args.make_middle or "middle" in names) and not (middle / "model_index.json").exists():
        make_middle(middle)
    if args.make_middle:
        return print(middle)
    models = {"builtin": (args.builtin, "builtin://shapes"), "golden": (args.golden, args.golden), "middle": (middle, middle)}
    labels = {n: "{}, {}x{}x{}, {} steps".format(n, *c["size"], c["num_frames"], c["steps"]) for n, c in CASES.items()}
    sides = {
        "croft": lambda name, work: run_croft(args.croft, models[name][1], CASES[name], args.threads, work),
        "diffusers": lambda name, work: run_diffusers(models[name][0], CASES[name], args.threads, work),
    }
    results = {}
    for name in names:
        with tempfile.TemporaryDirectory() as tmp:
            work, runs = pathlib.Path(tmp), {side: [] for side in sides if args.only in (None, side)}
            for _ in range(args.runs):
                for side in runs:
                    runs[side].append(sides[side](name, work))
            middle_of = lambda side, key: statistics.median(r[key] for r in runs[side])
            result = {"label": labels[name]}
            for side in runs:
                result[side] = {k: middle_of(side, k) for k in runs[side][0] if k != "frames"}
            if "diffusers" in runs:
                d = result["diffusers"]
                d["own_cpu_s"] = d["load_cpu_s"] + d["render_cpu_s"] + d["save_cpu_s"]
                d["own_mb"] = d["peak_mb"] - d["import_kb"] / 1024
            if args.only is None:
                result["difference"] = difference(runs["croft"][-1]["frames"], runs["diffusers"][-1]["frames"])
            results[name] = result
            print(json.dumps({name: result}), flush=True)
    if args.only is None:
        import diffusers
        import torch
        versions = dict(cpu=cpu_name(), threads=args.threads, torch=torch.__version__, diffusers=diffusers.__version__, runs=args.runs)
        args.results.mkdir(parents=True, exist_ok=True)
        stem = "vs_diffusers" if args.threads == 1 else f"vs_diffusers_{args.threads}_threads"
        (args.results / f"{stem}.json").write_text(json.dumps(dict(versions=versions, results=results), indent=1) + "\n")
        (args.results / f"{stem}.md").write_text(table(results, versions))
        print("\n" + table(results, versions))


if __name__ == "__main__":
    main()
