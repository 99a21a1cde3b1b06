"""What links between ranks cost: two builds of the bench `gang_links`, run by turns, so that both see the machine as it is.

    cargo bench -p croft-engine --bench gang_links --no-run     # of each of the two states; it says where the program is
    python benches/gang_links.py before=PROGRAM after=PROGRAM

prints the table and writes benches/results/gang_links.md. Nothing is needed but Python.
"""

import argparse
import datetime
import os
import pathlib
import statistics
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("builds", nargs=2, metavar="NAME=PROGRAM")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    options = parser.parse_args()
    builds = dict(build.split("=", 1) for build in options.builds)
    seen, began = {}, os.getloadavg()[0]
    for number in range(options.rounds):
        # Whoever goes first in one round goes last in the next.
        for name in sorted(builds, reverse=number % 2 == 1):
            out = subprocess.run([builds[name]], check=True, capture_output=True, text=True).stdout
            for line in out.splitlines():
                row, value = line.split("\t")
                seen.setdefault(row, {}).setdefault(name, []).append(float(value))
    first, second = builds
    lines = [f"| what | {first} | {second} | {second} beside {first} | least and most of {second} |", "|---|---:|---:|---:|---:|"]
    for row, values in seen.items():
        if len(values) < 2:
            continue  # only one of them has it
        one, other = (statistics.median(values[name]) for name in (first, second))
        span = f"{min(values[second]):.4g} to {max(values[second]):.4g}"
        lines.append(f"| {row} | {one:.4g} | {other:.4g} | {other / one:.2f} | {span} |")
    load = f"load {began:.1f} before and {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores"
    how = f"Medians of {options.rounds} rounds, each of which runs both; {options.date}; {load}."
    repeat = "Repeat: `python benches/gang_links.py before=PROGRAM after=PROGRAM`, with builds of `gang_links` before and after."
    about = "A link between two ranks, both in one process, over loopback; processor seconds are of both ends."
    table = "\n".join([about, "", *lines, "", how, repeat, ""])
    print(table)
    (HERE / "results" / "gang_links.md").write_text(table)


if __name__ == "__main__":
    main()
