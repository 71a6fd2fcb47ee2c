"""An answer of the server, one that is explained, and what those are worth that lack a service."""

from __future__ import annotations

import json
from collections.abc import Callable

from research.figures.tables import Figure, Words, measured, table

EXPLAINED = (
    "An answer takes {plain} ms, with what recall found {recall}, explained {explained}: {times} times as long, "
    "medians of requests in turns."
)
CHINESE = {
    EXPLAINED:
        "一个回答用 {plain} 毫秒，带上召回的结果 {recall} 毫秒，带上解释 {explained} 毫秒："
        "是前者的 {times} 倍（轮流请求的中位数）。",
    "away": "缺了", "all there": "一个不缺", "no Triton": "没有 Triton", "no Feast": "没有 Feast",
    "no Feast, a user not seen before": "没有 Feast，用户之前没来过", "no Elasticsearch": "没有 Elasticsearch",
    "no Redis": "没有 Redis", "no Redis, a user not seen before": "没有 Redis，用户之前没来过",
    "none of the four": "四个都没有", "none of the four, a user not seen before": "四个都没有，用户之前没来过",
    "{count} users.": "{count} 名用户。",
}  # fmt: skip


def answer(figure: Figure, word: Words) -> str:
    """A real answer, its list cut short."""
    shown = dict(figure["answer"])
    items = shown.pop("item_list")
    took = shown.pop("took_ms")
    lines = [json.dumps(shown, ensure_ascii=False)[:-1] + ","]
    lines += [' "item_list": [' + json.dumps(items[0], ensure_ascii=False) + ","]
    lines += ["  " + json.dumps(items[1], ensure_ascii=False) + ", …],"]
    lines += [' "took_ms": ' + json.dumps(took) + "}"]
    return "```\n" + "\n".join(lines) + "\n```"


def explained(figure: Figure, word: Words) -> str:
    """One item's explanation and one item's absence, their lists cut short, and what it costs to explain."""
    one, lost, ms = figure["explained"], figure["why_not"], figure["ms"]
    parts = [f'"{name}": {_cut_short(part)}' for name, part in one.items()]
    cost = word(EXPLAINED).format(**ms, times=f"{ms['explained'] / ms['plain']:.1f}")
    example = "{" + ",\n ".join(parts) + "}\n\n" + json.dumps(lost, ensure_ascii=False)[:-1] + ", …}"
    return f"```\n{example}\n```\n\n{cost} {measured(figure, word)}"


def _cut_short(part: object) -> str:
    """As JSON, with dots where a list goes on."""
    return json.dumps(part, ensure_ascii=False).replace("}]", "}, …]")


def degraded(figure: Figure, word: Words) -> str:
    """What each answer is worth that lacks a service."""
    metrics = [*next(iter(figure["cases"].values()))]
    rows = [(word(case), *(f"{found[name]:.4f}" for name in metrics)) for case, found in figure["cases"].items()]
    users = word("{count} users.").format(count=figure["users"])
    return f"{table((word('away'), *metrics), rows)}\n\n{users} {measured(figure, word)}"


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    "answer": ("demo.json", answer),
    "explained": ("explain.json", explained),
    "degraded": ("degraded.json", degraded),
}
