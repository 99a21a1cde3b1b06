"""Tests of the check where there is no GPU: rows are made up, and programs are stand-ins that write them.

    python deploy/cuda/tests.py
"""
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import stat
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))
import frames  # noqa: E402
import table  # noqa: E402

LARGE = "ltx-13b 768x512x121 b2"


def row(section, name, shape="", value=None, unit="", bound=None, ok=None, note=""):
    return dict(section=section, name=name, shape=shape, value=value, unit=unit, bound=bound, ok=ok, note=note)


def finished(*rows):
    return table.finished(table.read("".join(json.dumps(r) + "\n" for r in rows)))


def named(rows, name):
    return next(r for r in rows if r["name"] == name)


class Rows(unittest.TestCase):
    def test_a_bound_judges_a_value(self):
        for value, bound, ok in [(0.01, "<= 0.02", True), (0.03, "<= 0.02", False), (0.7, ">= 0.6", True), (10, "< 10", False), (5, None, None)]:
            [judged] = finished(row("parity", "dit", value=value, bound=bound))
            self.assertIs(judged["ok"], ok, (value, bound))

    def test_no_number_under_a_bound_has_failed(self):
        # serde_json writes a NaN as null, Python as NaN.
        for text in ('{"section": "kernels", "name": "k", "value": null, "bound": "<= 1"}', '{"section": "kernels", "name": "k", "value": NaN, "bound": "<= 1"}'):
            [judged] = table.finished(table.read(text))
            self.assertIs(judged["ok"], False)

    def test_what_is_no_row_and_no_bound_has_failed(self):
        rows = table.finished(table.read('{"section": "ker\n[1]\n{"section": "a", "name": "b", "value": 1, "bound": "about 3"}\n'))
        self.assertEqual([r["ok"] for r in rows], [False, False, False])

    def test_rates_stand_beside_the_devices_own(self):
        rows = finished(row("device", "copy", "1 GiB", 3000, "GB/s"), row("kernels", "rms_norm", "b", 2400, "GB/s"), row("kernels", "flash", "f", 500, "TFLOP/s"))
        self.assertAlmostEqual(named(rows, "rms_norm")["share"], 0.8)
        self.assertIsNone(named(rows, "flash")["share"], "no matmul rate was measured")
        self.assertIsNone(named(rows, "copy")["share"])

    def test_a_release_is_held_to_what_programs_measured(self):
        rows = finished(
            row("device", "matmul", "8192x8192x8192 bf16", 790, "TFLOP/s"), row("speed", "rate", LARGE, 500, "TFLOP/s"), row("speed", "call", LARGE, 700, "ms"),
            row("speed", "peak", LARGE, 30, "GiB"), row("diffusers", "eager peak", LARGE, 29, "GiB"), row("diffusers", "eager call", LARGE, 1000, "ms"))
        self.assertIs(named(rows, "13B step, of the matmul rate")["ok"], True)
        self.assertIs(named(rows, "13B step, diffusers eager over ours")["ok"], True)
        self.assertIs(named(rows, "13B peak over diffusers'")["ok"], False)
        compiled = named(rows, "13B step, torch.compile over ours")
        self.assertEqual((compiled["ok"], compiled["value"]), (None, None), "peers that were not asked are no failure")
        self.assertIn("compile call", compiled["note"])

    def test_a_bound_of_ours_holds_where_the_program_gives_none(self):
        self.assertIs(finished(row("speed", "first step", "ltx-2b", 11, "s"))[0]["ok"], False)

    def test_the_table_has_a_line_a_row_and_counts_failures(self):
        rows = finished(row("kernels", "a|b", "s", 1e-5, bound="<= 1e-4"), row("kernels", "c", ok=False, note="ended with 101"))
        text = table.markdown({"device": "one"}, rows)
        self.assertIn("- device: one\n", text)
        self.assertIn("| kernels | a\\|b | s | 1e-05 |  | <= 1e-4 | ok |", text)
        self.assertIn("**FAILED**: ended with 101", text)
        self.assertTrue(text.endswith("1 passed, 1 failed\n"))


def png(width, height, lines):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b"")


class Frames(unittest.TestCase):
    def test_every_filter_of_png_gives_the_same_pixels(self):
        above, line = bytes([10, 20, 30, 40, 50, 60, 70, 80, 90]), bytes([12, 24, 36, 38, 57, 63, 77, 70, 99])

        def paeth(a, b, c):
            return min((a, b, c), key=lambda v: (abs(a + b - c - v), (a, b, c).index(v)))

        for how in range(5):
            made = bytearray([how])
            for i, value in enumerate(line):
                a, b, c = (line[i - 3], above[i], above[i - 3]) if i >= 3 else (0, above[i], 0)
                made.append((value - (0, a, b, (a + b) // 2, paeth(a, b, c))[how]) & 255)
            with tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder) / "0001.png"
                file.write_bytes(png(3, 2, [b"\0" + above, bytes(made)]))
                self.assertEqual(frames.read(file), (3, 2, above + line), how)

    def test_renders_are_compared_frame_by_frame(self):
        with tempfile.TemporaryDirectory() as folder:
            a, b, c = (pathlib.Path(folder) / name for name in "abc")
            for place, shade in ((a, 100), (b, 110)):
                place.mkdir()
                (place / "0001.png").write_bytes(png(2, 1, [bytes([0] + [shade] * 6)]))
            c.mkdir()
            psnr, mean, largest = frames.compare(a, b)
            self.assertAlmostEqual(psnr, 28.13, 2)
            self.assertEqual((mean, largest), (10, 10))
            self.assertEqual(frames.compare(a, a), (99.0, 0, 0))
            with self.assertRaises(ValueError):
                frames.compare(a, c)


ROW = """python3 -c "import json,os; open(os.environ['CROFT_CHECK_OUT'],'a').write(json.dumps(dict({}))+chr(10))" """
PROGRAMS = {
    "nvidia-smi": "echo 'NVIDIA Test, 580.1, 81559 MiB, 9.0, GPU-1'",
    "croft": '[ "$1" != --version ] || { echo croft 0.1.0; exit; }\n[ "$CROFT_DEVICES" = cpu ] || { echo no device; exit 4; }',
    "cuda-bench": ROW.format("section='device',name='matmul',value=800,unit='TFLOP/s'") + '\n[ "$1" != flash ] || sleep 60',
    "engine": ROW.format("section='kernels',name='gelu',value=1e-3,bound='<= 1e-2'") + "\necho 'test cuda::gelu ... ok'\necho 'test result: ok. 1 passed; 0 failed; 0 ignored'",
    "golden_cuda": "echo 'test result: ok. 0 passed; 0 failed; 0 ignored'",
    "nccl": "echo 'no gang over NCCL here: rank 0 lacks libnccl.so.2'\necho 'test result: ok. 2 passed; 0 failed; 1 ignored'",
}


class Whole(unittest.TestCase):
    def check(self, folder, *words):
        folder = pathlib.Path(folder)
        dist = folder / "dist"
        dist.mkdir()
        for name, text in PROGRAMS.items():
            program = dist / name
            program.write_text(f"#!/bin/bash\n{text}\n")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        env = dict(os.environ, PATH=f"{dist}:{os.environ['PATH']}")
        done = subprocess.run([sys.executable, HERE / "check", "--dist", dist, "--out", folder / "out", *words], env=env, capture_output=True, text=True, timeout=120)
        said = json.loads((folder / "out/cuda.json").read_text())
        self.assertIn("NVIDIA Test", said["device"])
        self.assertIn(f"{len(table.failures(said['rows']))} failed", done.stdout)
        return done, [r for r in said["rows"] if r["section"] != "check"]

    def test_what_passes_ends_well(self):
        with tempfile.TemporaryDirectory() as folder:
            done, rows = self.check(folder, "--only", "kernels")
            failed = {r["name"] for r in table.failures(rows)}
            self.assertEqual(failed, set(), done.stdout)
            self.assertIs(named(rows, "gelu")["ok"], True)

    def test_each_failure_is_a_row_and_ends_nothing_else(self):
        with tempfile.TemporaryDirectory() as folder:
            done, rows = self.check(folder, "--only", "kernels,parity,nccl", "--seconds", "60")
            self.assertEqual(done.returncode, 1)
            failed = {(r["section"], r["name"]) for r in table.failures(rows)}
            self.assertIn(("parity", "tests that passed"), failed, "a harness that ran nothing does not pass")
            self.assertIn(("parity", "render builtin, 96x96x17, 20 steps, cuda"), failed)
            self.assertIn(("nccl", "two ranks on one device"), failed)
            self.assertFalse(any(section == "kernels" for section, _ in failed))

    def test_a_program_that_hangs_costs_its_own_time_only(self):
        # The script has no name that can be imported.
        loader = importlib.machinery.SourceFileLoader("check", str(HERE / "check"))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader("check", loader))
        loader.exec_module(module)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            args = type("Args", (), dict(out=folder / "out", quick=False, seconds=100))
            check = module.Check(args, folder, folder)
            said, well = check.run("speed", "hangs", ["bash", "-c", "echo began; sleep 60"], 2)
            self.assertEqual((said, well), ("began\n", False))
            _, well = check.run("speed", "killed", ["bash", "-c", "kill -9 $$"], 2)
            check.run("speed", "absent", [folder / "nothing"], 2)
            notes = [r["note"] for r in check.finished()]
            self.assertIn("did not end within 2 s", notes[0])
            self.assertEqual(notes[1:], ["ended by SIGKILL", "cannot be started: No such file or directory"])


if __name__ == "__main__":
    unittest.main()
