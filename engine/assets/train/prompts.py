"""The 72 fixed prompts: every colour, shape, background and motion equally often (motions to within one)."""

import random

import data

COUNT = 72


def prompts():
    pick = random.Random(2026)

    def column(table):
        names = list(table)
        out = [names[i % len(names)] for i in range(COUNT)]
        pick.shuffle(out)
        return out

    columns = [column(t) for t in (data.COLOURS, data.SHAPES, data.MOTIONS, data.BACKGROUNDS)]
    return [data.caption(*row) for row in zip(*columns)]


if __name__ == "__main__":
    print("\n".join(prompts()))
