"""Makes one table of what the check programs left: `deploy/cuda/check` calls it, and `python table.py ROWS` shows it again.

A row is a line of JSON (README.md says what it holds). Here it is judged by its own bound, rows that only compare others are
added with the bounds that a release must keep, and all is written as Markdown and as JSON. Nothing is measured here.
"""
import json
import math
import operator
import re
import sys

LARGE, SMALL = "768x512x121 b2", "256x256x9 b2"
COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
# The device's own rate beside which a rate is shown.
CEILINGS = {"GB/s": ("device", "copy", None), "TFLOP/s": ("device", "matmul", None)}


def ratio(name, top, bottom, bound=None):
    return dict(name=name, top=top, bottom=bottom, bound=bound)


def of(section, name, shape=None):
    return (section, name, shape)


# What a release is held to, each made of rows that programs have measured: the first over the second.
COMPARED = [
    ratio("13B step, of the matmul rate", of("speed", "rate", f"ltx-13b {LARGE}"), of("device", "matmul"), ">= 0.6"),
    ratio("13B step, diffusers eager over ours", of("diffusers", "eager call", f"ltx-13b {LARGE}"), of("speed", "call", f"ltx-13b {LARGE}"), ">= 1"),
    ratio("13B step, torch.compile over ours", of("diffusers", "compile call", f"ltx-13b {LARGE}"), of("speed", "call", f"ltx-13b {LARGE}")),
    ratio("2B step, of the matmul rate", of("speed", "rate", f"ltx-2b {LARGE}"), of("device", "matmul")),
    ratio("2B step, diffusers eager over ours", of("diffusers", "eager call", f"ltx-2b {LARGE}"), of("speed", "call", f"ltx-2b {LARGE}")),
    ratio("2B step, torch.compile over ours", of("diffusers", "compile call", f"ltx-2b {LARGE}"), of("speed", "call", f"ltx-2b {LARGE}")),
    ratio("small 2B step, diffusers eager over ours", of("diffusers", "eager call", f"ltx-2b {SMALL}"), of("speed", "call", f"ltx-2b {SMALL}"), ">= 3"),
    ratio("small 2B step, torch.compile over ours", of("diffusers", "compile call", f"ltx-2b {SMALL}"), of("speed", "call", f"ltx-2b {SMALL}")),
    ratio("flash 1x32x6144x128, of the matmul rate", of("flash", "flash", "1x32x6144x128"), of("device", "matmul"), ">= 0.6"),
    ratio("flash 1x24x32768x128, of the matmul rate", of("flash", "flash", "1x24x32768x128"), of("device", "matmul"), ">= 0.6"),
    ratio("2B weights, of the host-to-device rate", of("speed", "load", "ltx-2b"), of("device", "h2d"), ">= 0.7"),
    ratio("13B weights, of the host-to-device rate", of("speed", "load", "ltx-13b"), of("device", "h2d"), ">= 0.7"),
    ratio("2B peak over diffusers'", of("speed", "peak", f"ltx-2b {LARGE}"), of("diffusers", "eager peak", f"ltx-2b {LARGE}"), "<= 1"),
    ratio("13B peak over diffusers'", of("speed", "peak", f"ltx-13b {LARGE}"), of("diffusers", "eager peak", f"ltx-13b {LARGE}"), "<= 1"),
    ratio("decode, diffusers over ours", of("diffusers", "decode", "vae-0.9.5 768x512x121"), of("speed", "decode", "vae-0.9.5 768x512x121")),
    ratio("decode peak over diffusers'", of("speed", "decode peak", "vae-0.9.5 768x512x121"), of("diffusers", "decode peak", "vae-0.9.5 768x512x121"), "<= 1"),
]

# Bounds of what is measured alone, where its program gives none.
ALONE = {("speed", "first step", "ltx-2b"): "< 10"}


def read(text):
    """The rows of a file of them. A line that is none is a row that failed: a program that was cut short, or one that is wrong."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            row = dict(section=str(given["section"]), name=str(given["name"]), shape=str(given.get("shape") or ""), value=given.get("value"),
                       unit=str(given.get("unit") or ""), bound=given.get("bound"), ok=given.get("ok"), note=str(given.get("note") or ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            row = dict(section="check", name=f"line {number}", shape="", value=None, unit="", bound=None, ok=False, note=f"not a row: {line[:60]}")
        rows.append(row)
    return rows


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def judged(row):
    """The row with `ok`: as its program says, else by its bound. What has a bound and no number has failed: a NaN is no JSON."""
    row = dict(row, bound=row["bound"] or ALONE.get((row["section"], row["name"], row["shape"])))
    if row["ok"] is not None or row["bound"] is None:
        return row
    said = re.fullmatch(r"(<=|>=|<|>) *(\S+)", str(row["bound"]))
    if said is None:
        return dict(row, ok=False, note=f"not a bound: {row['bound']}")
    return dict(row, ok=is_number(row["value"]) and COMPARE[said[1]](row["value"], float(said[2])))


def found(rows, wanted):
    """The latest value of (section, name, shape); with no shape, of any."""
    section, name, shape = wanted
    values = [r["value"] for r in rows if r["section"] == section and r["name"] == name and shape in (None, r["shape"])]
    return values[-1] if values and is_number(values[-1]) else None


def compared(rows):
    """The rows that compare others, where at least one side was measured; one that lacks the other says so and has not failed."""
    out = []
    for way in COMPARED:
        top, bottom = found(rows, way["top"]), found(rows, way["bottom"])
        if top is None and bottom is None:
            continue
        row = dict(section="compared", name=way["name"], shape="", value=None, unit="x", bound=way["bound"], ok=None, note="")
        if top is None or not bottom:
            lacks = way["top"] if top is None else way["bottom"]
            out.append(dict(row, bound=None, note="not measured: {}".format(" ".join(part for part in lacks if part))))
        else:
            out.append(dict(row, value=top / bottom))
    return out


def share(rows, row):
    """A rate beside the device's own, or nothing."""
    ceiling = CEILINGS.get(row["unit"])
    best = found(rows, ceiling) if ceiling and row["section"] != "device" and is_number(row["value"]) else None
    return row["value"] / best if best else None


def finished(rows):
    """All rows, judged, with what compares them and their share of the device's rate."""
    rows = [judged(row) for row in rows]
    rows += [judged(row) for row in compared(rows)]
    return [dict(row, share=share(rows, row)) for row in rows]


def failures(rows):
    return [row for row in rows if row["ok"] is False]


def number(value):
    if value is None:
        return "-"
    if not is_number(value):
        return str(value)
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def markdown(about, rows):
    """One table, with what was measured on above it and the count of failures below."""
    head = [f"- {name}: {value}" for name, value in about.items()]
    lines = ["| section | what | shape | value | of the device | bound | |", "|---|---|---|---:|---:|---|---|"]
    sections = list(dict.fromkeys(row["section"] for row in rows))
    for row in sorted(rows, key=lambda row: sections.index(row["section"])):
        beside = "" if row.get("share") is None else f"{row['share']:.0%}"
        word = {True: "ok", False: "**FAILED**", None: ""}[row["ok"]]
        note = ": ".join(part for part in (word, row["note"]) if part)
        value = f"{number(row['value'])} {row['unit']}".strip()
        lines.append("| " + " | ".join(map(cell, (row["section"], row["name"], row["shape"], value, beside, row["bound"] or "", note))) + " |")
    bounded = [row for row in rows if row["ok"] is not None]
    end = f"{len(bounded) - len(failures(rows))} passed, {len(failures(rows))} failed"
    return "\n".join([*head, "", *lines, "", end, ""])


def main():
    rows = finished(read(open(sys.argv[1]).read()))
    sys.stdout.write(markdown({}, rows))
    return 1 if failures(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
