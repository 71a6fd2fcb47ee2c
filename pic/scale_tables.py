"""The tables of `make bench-scale`: what the steps cost as the data grows, and what that means for more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tables import Figure, Words, measured, table

from offline.scaling.estimate import TARGETS, estimates


def scale(figure: Figure, word: Words) -> str:
    """Seconds and peak memory of each step and engine at each size, and how they grow."""
    factors = sorted({row["factor"] for row in figure["rows"]})
    events = {row["factor"]: row["events"] for row in figure["rows"]}
    head = [word("step"), word("engine"), *(f"{events[factor]:,} {word('events')}" for factor in factors)]
    rows = [_step(figure, each, factors) for each in figure["lines"]]
    note = word(
        "Seconds / peak MB of all of a step's processes; s and MB for each million more events are the slope of a "
        "line, off by at most the share behind it."
    )
    more = (f"s / {word('million more')}", f"MB / {word('million more')}", f"{word('shuffled')} MB / {word('million')}")
    return f"{table([*head, *more], rows)}\n\n{note} {measured(figure, word)}"


def _step(figure: Figure, line: Figure, factors: Sequence[int]) -> Sequence[object]:
    rows = {
        row["factor"]: row for row in figure["rows"] if (row["engine"], row["step"]) == (line["engine"], line["step"])
    }
    cells = (f"{rows[each]['seconds']:.1f} / {rows[each]['peak_mb']:.0f}" if each in rows else None for each in factors)
    several = len(rows) > 1
    seconds, memory = (
        f"{line[name]['each'] * 1e6:.2f} (±{line[name]['off']:.0%})" if several else None
        for name in ("seconds", "peak_mb")
    )
    shuffled = f"{line['written']['each'] * 1e6 / 2**20:.1f}" if several and "written" in line else None
    return f"`{line['step']}`", line["engine"], *cells, seconds, memory, shuffled


def estimate(figure: Figure, word: Words) -> str:
    """Machines and money for data that is not at hand, each number with its formula."""
    columns = [estimates(figure, users) for users, _ in TARGETS]
    head = ("", word("reckoned as"), *(f"{users:,} {word('users')}" for users, _ in TARGETS))
    rows = [
        (word(first.name), word(first.formula), *(f"{each.value:,.0f} {each.unit}".strip() for each in row))
        for row in zip(*columns, strict=True)
        for first in row[:1]
    ]
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def index_growth(figure: Figure, word: Words) -> str:
    """What a vector search finds and takes as the catalogue grows."""
    head = ("items", "index", "channel", "num_candidates", "found of the exact", "worst user", "p50 ms", "p99 ms")
    more = ("seconds to load", "bytes an item")
    keys = ("index", "channel", "num_candidates", "found", "found by the worst served", "p50_ms", "p99_ms")
    rows = [
        (f"{row['items']:,}", *(row[key] for key in keys), row["loaded_s"], row["bytes_an_item"])
        for row in figure["rows"]
    ]
    return f"{table([word(each) for each in (*head, *more)], rows)}\n\n{measured(figure, word)}"


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    "scale": ("scale.json", scale),
    "estimate": ("scale.json", estimate),
    "index_growth": ("index_growth.json", index_growth),
}

CHINESE = {
    "engine": "引擎", "million more": "每多一百万", "million": "每一百万", "shuffled": "shuffle",
    "num_candidates": "num_candidates", "p50 ms": "p50 毫秒", "p99 ms": "p99 毫秒", "seconds to load": "装载秒数",
    "bytes an item": "每个物品的字节",
    "Seconds / peak MB of all of a step's processes; s and MB for each million more events are the slope of a "
    "line, off by at most the share behind it.":
        "秒 / 一个步骤所有进程的内存峰值 MB；每多一百万个事件的秒数与 MB 是一条直线的斜率，最多差后面的百分比。",
    "reckoned as": "算法",
    "users x events of a user, as now": "用户数 x 每个用户的事件数（同现在）",
    "memory of one machine, with pandas": "用 pandas：一台机器的内存",
    "the largest line of peak memory": "内存峰值最大的那条直线", "processor hours, with Spark": "用 Spark：处理器小时",
    "the sum of the lines of processor seconds": "各步处理器秒数的直线之和", "bytes shuffled": "shuffle 的字节",
    "the sum of the lines of bytes shuffled": "各步 shuffle 字节的直线之和",
    "machines of 16 cores and 64 GB": "16 核 64 GB 的机器数",
    "processor hours / 16 cores / 1 h": "处理器小时 / 16 核 / 1 小时",
    "a night's cost": "一夜的费用", "machines x 1 h x $0.80 (assumed)": "机器数 x 1 小时 x 0.80 美元（假设）",
}  # fmt: skip
