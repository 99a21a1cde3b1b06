"""Shots in flight: clips a minute by two ranks that have half of the layers each, with one shot and with two in flight, beside
one rank and beside two that render a clip each. Every rank is a worker's, with one thread, held to a core of its own.

    cargo build --release && python benches/flight.py

prints the table and writes benches/results/flight.md. Nothing is needed but Python and `taskset`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
STEPS = 60
CLIPS = 8
GUIDANCES = {"unguided": 1, "guided": 3}
LAYERS = "ranks: 2, split: layers"
# Name, workers, what a task asks of its devices.
WAYS = [
    ("one rank, the whole model", 1, "ranks: 1"),
    ("two ranks by layers, one shot in flight", 2, LAYERS + ", limits: [one]"),
    ("two ranks by layers, two shots in flight", 2, LAYERS),
    ("two ranks, a clip each", 2, "ranks: 1"),
]


class Farm:
    """A coordinator and workers, ended with the block."""

    def __init__(self, croft, folder, workers, cores):
        self.croft, self.folder, self.workers, self.cores, self.processes = croft, folder, workers, cores, []

    def __enter__(self):
        words = ["--log-format", "json", "coordinator", "--listen", "127.0.0.1:0", "--data-dir", self.folder / "house"]
        house = self.start(words, stderr=subprocess.PIPE, text=True)
        self.address = next(a for a in (json.loads(line).get("address") for line in house.stderr) if a)
        for number in range(self.workers):
            words = ["worker", "--coordinator", self.address, "--name", f"w{number}", "--devices", "cpu:1"]
            words += ["--threads", "1", "--data-dir", self.folder / f"w{number}"]
            self.start(words, ["taskset", "-c", str(self.cores[number])], stderr=subprocess.DEVNULL)
        self.client("limit", "one", "1")
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait()

    def start(self, words, before=(), **how):
        process = subprocess.Popen([*before, self.croft, *map(str, words)], **how)
        self.processes.append(process)
        return process

    def client(self, *words):
        words = [self.croft, *map(str, words), "--coordinator", self.address]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    def seconds(self, name, clips, guidance, resources):
        """Renders a job and gives the time from its submission to its end."""
        spec = self.folder / f"{name}.yaml"
        spec.write_text(f"""\
apiVersion: croft/v1
kind: Job
name: {name}
axes:
  seed: {{from: 1, count: {clips}}}
layers:
  - name: clip
    model: builtin://shapes
    prompt: a red circle moving right on a gray background
    params: {{steps: {STEPS}, guidance: {guidance}}}
    resources: {{{resources}}}
    output: "{name}/s{{seed}}"
""")
        began = time.monotonic()
        self.client("submit", spec, "--watch")
        return time.monotonic() - began


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--croft", default=HERE.parent / "target/release/croft")
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--out", type=pathlib.Path, default=HERE / "results/flight.md")
    args = args.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    measured = {}
    # Round after round, so that what else the machine does meets all of them.
    for number in range(args.rounds):
        for way, workers, resources in WAYS:
            with tempfile.TemporaryDirectory() as folder, Farm(args.croft, pathlib.Path(folder), workers, cores) as farm:
                farm.seconds("warm", workers, 1, resources)
                for name, guidance in GUIDANCES.items():
                    took = farm.seconds(name, CLIPS, guidance, resources)
                    measured.setdefault((way, name), []).append(60 * CLIPS / took)
    table = ["| | " + " | ".join(f"{name}, clips a minute | beside one shot in flight" for name in GUIDANCES) + " |"]
    table.append("|---|" + "---:|---:|" * len(GUIDANCES))
    for way, _, _ in WAYS:
        cells = []
        for name in GUIDANCES:
            rate, one = (statistics.median(measured[at, name]) for at in (way, WAYS[1][0]))
            cells.append(f"{rate:.1f} | {rate / one:.2f}")
        table.append(f"| {way} | " + " | ".join(cells) + " |")
    text = f"""\
Two ranks that have half of the layers each, on a core each: with two shots in flight both have something to do.

`cargo build --release && python benches/flight.py` (the built-in model, 96x96x17, {STEPS} steps, {CLIPS} clips a job, one thread a
rank; medians of {args.rounds} rounds, each of which runs all of them)

""" + "\n".join(table) + "\n"
    print(text)
    args.out.write_text(text)


if __name__ == "__main__":
    main()
