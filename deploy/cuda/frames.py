"""Compares the frames of two renders: `compare(ours, theirs)` of two folders of PNG files, 8-bit RGB as Croft writes them.

Nothing but Python's own library is used, for a machine that has a GPU need not have more.
"""
import math
import pathlib
import struct
import zlib


def read(path):
    """(width, height, bytes of the pixels) of a PNG file."""
    data = pathlib.Path(path).read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"{path}: no PNG file")
    at, packed, size = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            if (depth, colour, interlaced) != (8, 2, 0):
                raise ValueError(f"{path}: not 8-bit RGB")
            size = (width, height)
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    width, height = size
    return width, height, unfiltered(zlib.decompress(packed), width * 3, height)


def unfiltered(lines, stride, height):
    """Takes back what PNG has made of each line: its first byte says how it was predicted from what is left of and above it."""
    out, above = bytearray(), bytearray(stride)
    for line in range(height):
        at = line * (stride + 1)
        how, now = lines[at], bytearray(lines[at + 1:at + 1 + stride])
        for i in range(stride if how else 0):
            left, up, corner = (now[i - 3], above[i], above[i - 3]) if i >= 3 else (0, above[i], 0)
            if how == 1:
                add = left
            elif how == 2:
                add = up
            elif how == 3:
                add = (left + up) // 2
            else:
                guess = left + up - corner
                far = (abs(guess - left), abs(guess - up), abs(guess - corner))
                add = (left, up, corner)[far.index(min(far))]
            now[i] = (now[i] + add) & 255
        out += now
        above = now
    return bytes(out)


def frames(folder):
    return sorted(path for path in pathlib.Path(folder).rglob("*.png") if path.stem.isdigit())


def compare(ours, theirs):
    """Peak signal-to-noise ratio in dB over all frames, the mean difference and the largest, in 1/255."""
    a, b = frames(ours), frames(theirs)
    if not a or [path.name for path in a] != [path.name for path in b]:
        raise ValueError(f"{len(a)} frames against {len(b)}")
    count = total = squares = largest = 0
    for one, other in zip(a, b):
        one, other = read(one), read(other)
        if one[:2] != other[:2]:
            raise ValueError(f"{one[0]}x{one[1]} against {other[0]}x{other[1]}")
        # Most differences are one of few: count them.
        seen = {}
        for x, y in zip(one[2], other[2]):
            seen[x - y] = seen.get(x - y, 0) + 1
        count += len(one[2])
        total += sum(abs(d) * n for d, n in seen.items())
        squares += sum(d * d * n for d, n in seen.items())
        largest = max(largest, max(map(abs, seen)))
    psnr = 99.0 if squares == 0 else 10 * math.log10(255**2 * count / squares)
    return psnr, total / count, largest
