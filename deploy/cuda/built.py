"""What Cargo says that it has built, for `deploy/cuda/build`: JSON lines on standard input.

    built.py executable KIND:NAME    the path of one executable
    built.py kernels                 a table of the kernels' images and their bytes, by architecture
"""
import json
import pathlib
import sys

ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_120", "ptx"]


def messages():
    for line in sys.stdin:
        if line.startswith("{"):
            yield json.loads(line)


def executable(wanted):
    kind, name = wanted.split(":")
    files = [m["executable"] for m in messages()
             if m["reason"] == "compiler-artifact" and m.get("executable") and kind in m["target"]["kind"] and m["target"]["name"] == name]
    if not files:
        sys.exit(f"Cargo has built no {kind} {name}")
    print(files[-1])


def kernels():
    """Images are named module.architecture.cubin or module.ptx, in the folder that the engine's build script was given."""
    outs = [pathlib.Path(m["out_dir"]) for m in messages() if m["reason"] == "build-script-executed" and "/engine#" in m["package_id"]]
    files = [f for out in outs for f in (*out.glob("*.cubin"), *out.glob("*.ptx"))]
    if not files:
        sys.exit("the engine's build has made no kernels: was it built with the feature `cuda`?")
    images = {}
    for file in files:
        module, _, rest = file.name.partition(".")
        images.setdefault(module, {})[rest.removesuffix(".cubin")] = file.stat().st_size
    print("kernels, bytes".ljust(24) + "".join(a.rjust(10) for a in ARCHITECTURES))
    for module, sizes in sorted(images.items()):
        print(module.ljust(24) + "".join(str(sizes.get(a, "-")).rjust(10) for a in ARCHITECTURES))
    total = {a: sum(sizes.get(a, 0) for sizes in images.values()) for a in ARCHITECTURES}
    print("all".ljust(24) + "".join(str(total[a]).rjust(10) for a in ARCHITECTURES))
    missing = [a for a in ARCHITECTURES if not total[a]]
    if missing:
        sys.exit(f"no kernels for {', '.join(missing)}")


if __name__ == "__main__":
    executable(sys.argv[2]) if sys.argv[1] == "executable" else kernels()
