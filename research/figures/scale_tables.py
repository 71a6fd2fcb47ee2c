"""The tables of `make bench-scale` and `make bench-index items=…`: what growth costs, and what that means for more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from data_exchange_center.figures import FIGURES
from past_one_machine.scaling import serving
from past_one_machine.scaling.estimate import TARGETS, Estimate, estimates
from research.figures.tables import Figure, Words, measured, not_measured, read, table

SCALE, GROWTH, WATERFALL, SYNTHESIS = "scale.json", "index_growth.json", "waterfall.json", "synthesis.json"


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


def estimate(synthesis: Figure, word: Words) -> str:
    """Machines and money for data that is not at hand, each number with its formula.

    ``synthesis``: says how many events a user has. What needs a figure that is not there is left out, and named.
    """
    there = {name: read(name) if (FIGURES / name).is_file() else None for name in (SCALE, WATERFALL, GROWTH)}
    return "\n\n".join(_estimate(synthesis, there, word))


def _estimate(synthesis: Figure, there: Mapping[str, Figure | None], word: Words) -> Iterator[str]:
    yield f"**{word('The steps, each night')}**"
    if scale := there[SCALE]:
        yield _of_targets([estimates(scale, users) for users, _ in TARGETS], word)
    yield _told(SCALE, there, word)
    yield f"**{word('Serving')}**"
    source = synthesis["rows"]["source"]
    events = source["events"] / source["users"]
    of_targets = [serving.estimates(*target, events, there[WATERFALL], there[GROWTH]) for target in TARGETS]
    yield _of_targets(of_targets, word)
    for name in (WATERFALL, GROWTH):
        yield _told(name, there, word)


def _of_targets(columns: Sequence[Sequence[Estimate]], word: Words) -> str:
    targets = (f"{users:,} {word('users')} x {items:,} {word('items')}" for users, items in TARGETS)
    rows = [
        (word(first.name), word(first.formula), *(f"{_plain(each.value)} {each.unit}".strip() for each in row))
        for row in zip(*columns, strict=True)
        for first in row[:1]
    ]
    return table(("", word("reckoned as"), *targets), rows)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _told(name: str, there: Mapping[str, Figure | None], word: Words) -> str:
    """Where a figure comes from, or that it is not there."""
    figure = there[name]
    return not_measured(name, word) if figure is None else measured(figure, word)


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
    "scale": (SCALE, scale),
    "estimate": (SYNTHESIS, estimate),
    "index_growth": (GROWTH, index_growth),
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
    "The steps, each night": "每夜的各步骤", "Serving": "在线服务",
    "Redis: a user's state": "Redis：一个用户的状态",
    "500 + events of a user x (13 + 4) bytes": "500 + 每个用户的事件数 x (13 + 4) 字节",
    "Redis: memory": "Redis：内存",
    "users x a user's state x 2 releases x 2 copies": "用户数 x 一个用户的状态 x 2 个版本 x 2 份",
    "Feast: rows": "Feast：行数", "(users + items) x 2 releases": "(用户数 + 物品数) x 2 个版本",
    "requests a second, at the peak": "高峰时每秒的请求数",
    "users x 5 a day x 3 (assumed) / 86,400 s": "用户数 x 每天 5 次 x 3（假设）/ 86,400 秒",
    "server: requests a second of one core": "服务器：一个核每秒的请求数",
    "redis: requests a second of one core": "Redis：一个核每秒的请求数",
    "feast: requests a second of one core": "Feast：一个核每秒的请求数",
    "triton: requests a second of one core": "Triton：一个核每秒的请求数",
    "1000 ms / processor ms of a request": "1000 毫秒 / 一个请求的处理器毫秒",
    "cores of these, at the peak": "高峰时这些服务的核数",
    "requests a second x processor ms / 1000": "每秒的请求数 x 处理器毫秒 / 1000",
    "Elasticsearch: index": "Elasticsearch：索引", "items x bytes an item x 2 copies": "物品数 x 每个物品的字节 x 2 份",
    "Elasticsearch: parts of the index": "Elasticsearch：索引分成几份",
    "items / the most that were measured, rounded up": "物品数 / 测过的最多的物品数，向上取整",
    "Elasticsearch: requests a second of one core": "Elasticsearch：一个核每秒的请求数",
    "1000 ms / (parts x p50 of all channels, in the quickest index that finds 95%)":
        "1000 毫秒 / (份数 x 所有通道的 p50，取能找到 95 % 的最快的索引)",
    "cores of Elasticsearch, at the peak": "高峰时 Elasticsearch 的核数",
    "requests a second / those of one core": "每秒的请求数 / 一个核每秒的请求数",
    "machines of 16 cores and 64 GB, to serve": "用来服务的 16 核 64 GB 的机器数",
    "the larger of cores / (16 x 0.5) and memory / 64 GB, rounded up":
        "核数 / (16 x 0.5) 与内存 / 64 GB 中较大的，向上取整",
    "a month's cost": "一个月的费用", "machines x 730 h x $0.80 (assumed)": "机器数 x 730 小时 x 0.80 美元（假设）",
}  # fmt: skip
