"""The tables of what it takes to run the project: `make demo`, the containers."""

from __future__ import annotations

import re
from collections.abc import Callable

from research.figures.tables import Figure, Words, measured, table

CHINESE = {
    "step": "步骤", "seconds": "秒", "part": "部分", "empty machine": "全新机器", "again": "再来一次",
    "setup": "安装", "offline": "离线", "services": "启动服务", "sync": "同步", "server": "上线",
    "{first} seconds on an empty machine ({parts}), {again} when it runs again.":
        "全新的机器上 {first} 秒（{parts}），再运行一次 {again} 秒。",
    "container": "容器", "image MB": "镜像 MB", "of them shared": "其中共用",
    "seconds to healthy": "到健康的秒数", "memory MB": "内存 MB",
}  # fmt: skip

# What a person wants to see of the demo's output: the data, what was trained, what was loaded and checked, the answer.
BRIEF = (
    r"ratings of [\d,]+ users", r"^tower:", r"lists of", r" is ready on port ",
    r"^release .* in (Redis|Elasticsearch|Feast|Triton)\b", r"offline against online", r"^  score ", r" is live$",
    r"^┃  #", r"^…$", r"^release .* ms", r"^triton .* ms",
)  # fmt: skip


def demo(figure: Figure, word: Words) -> str:
    """Seconds of each part of `make demo`, the first time and again."""
    parts = [*figure["again"]]
    head = (word("part"), *(f"{word(run)}, {word('seconds')}" for run in ("empty machine", "again")))
    rows = [(word(part), figure["first"].get(part), figure["again"].get(part)) for part in parts]
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def demo_time(figure: Figure, word: Words) -> str:
    """The same in a sentence."""
    first, again = figure["first"], figure["again"]
    parts = ", ".join(f"{word(part)} {seconds}" for part, seconds in first.items() if part != "all")
    took = word("{first} seconds on an empty machine ({parts}), {again} when it runs again.")
    return f"{took.format(first=first['all'], again=again['all'], parts=parts)} {measured(figure, word)}"


def printed(figure: Figure, word: Words) -> str:
    """What `make demo` prints, cut short."""
    return "```text\n" + "\n".join(figure["printed"]) + "\n```"


def brief(figure: Figure, word: Words) -> str:
    """What each part of `make demo` says of itself, in a line or two."""
    lines = [line for line in figure["printed"] if any(re.search(pattern, line) for pattern in BRIEF)]
    return "```text\n" + "\n".join(lines) + "\n```"


def sync(figure: Figure, word: Words) -> str:
    """Seconds of each sync step, as `make demo` ran it."""
    head = (word("step"), word("seconds"))
    return f"{table(head, figure['sync_steps'].items())}\n\n{measured(figure, word)}"


def containers(figure: Figure, word: Words) -> str:
    """Of each container: its image, how much of it the others share, its start and its memory."""
    head = ("container", "image MB", "of them shared", "seconds to healthy", "memory MB")
    keys = ("size_mb", "shared_mb", "seconds_to_healthy", "memory_mb")
    rows = [(f"`{row['service']}`", *(row[key] for key in keys)) for row in figure["containers"]]
    return f"{table([word(name) for name in head], rows)}\n\n{measured(figure, word)}"


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    "demo": ("demo.json", demo),
    "demo_time": ("demo.json", demo_time),
    "printed": ("demo_output.json", printed),
    "brief": ("demo_output.json", brief),
    "sync": ("demo.json", sync),
    "containers": ("containers.json", containers),
}
