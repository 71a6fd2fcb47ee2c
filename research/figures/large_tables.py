"""The tables of `make evaluate-large`: what the ways for large catalogues lose, and what they take as one grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from research.figures.tables import Figure, Words, measured, table

FILE = "large_catalogues.json"
METRICS = {"recall@200": "recall@200", "ndcg@50": "NDCG@50"}
KINDS = {"tower": "softmax over a sample of {size} items", "ease": "{size} eigenvectors"}
FULL = {"tower": "softmax over all items", "ease": "whole inverse"}
LOST = (
    "On {ratings} of {users} users, {items} items. Alone: what the channel finds by itself; fused: with the other one "
    "in full. In brackets the paired difference to the full way, in thousandths, with its 95 % interval."
)
TAKEN = (
    "Processor seconds of one batch of the tower (512 requests, their gradients and the optimizer's step), or of all "
    "of EASE; peak memory of the process, some 1,000 MB of it before anything is fitted."
)
CHINESE = {
    "alone": "单独", "processor seconds": "处理器秒数", "the ten before the last ten": "倒数第 11 至 20 个评分",
    "softmax over a sample of {size} items": "对 {size} 个物品的样本做 softmax",
    "{size} eigenvectors": "{size} 个特征向量",
    "softmax over all items": "对全部物品做 softmax", "whole inverse": "整个逆矩阵",
    LOST:
        "{ratings}，{users} 名用户，{items} 个物品。单独：通道自己找到的；融合后：与另一条按完整办法训练的通道融合。"
        "括号里是与完整办法的配对之差，单位千分之一，及其 95 % 区间。",
    TAKEN:
        "处理器秒数：双塔是一个批次（512 个请求，含梯度与优化器的一步），EASE 是全部；内存峰值是整个进程的，"
        "其中约 1,000 MB 是一开始就有的。",
}  # fmt: skip


def lost(figure: Figure, word: Words) -> str:
    """Each way's metrics, with its difference to the full way."""
    head = ("channel", "way", *(f"{where}: {name}" for where in ("alone", "fused") for name in METRICS.values()))
    lines = [
        (
            row["channel"],
            _way(row["channel"], row["way"], word),
            *_cells(row["alone"], word),
            *_cells(row["fused"], word),
        )
        for row in figure["rows"]
    ]
    said = word(LOST).format(
        ratings=word(figure["ratings"]), users=f"{figure['users']:,}", items=f"{figure['items']:,}"
    )
    return f"{table(_head(head, word), lines)}\n\n{said} {measured(figure, word)}"


def taken(figure: Figure, word: Words) -> str:
    """Seconds and memory of each way at each size of the catalogue."""
    head = ("channel", "way", "items", "processor seconds", "peak MB")
    lines = [
        (
            row["kind"],
            _way(row["kind"], row["way"], word),
            f"{row['items']:,}",
            f"{row['cpu_seconds']:.2f}" if row["cpu_seconds"] < 10 else f"{row['cpu_seconds']:.0f}",
            f"{row['peak_mb']:,.0f}",
        )
        for row in figure["growth"]
    ]
    return f"{table(_head(head, word), lines)}\n\n{word(TAKEN)} {measured(figure, word)}"


def _head(names: tuple[str, ...], word: Words) -> list[str]:
    """``alone: recall@200``: the first word translated."""
    parts = (name.partition(": ") for name in names)
    return [f"{word(first)}{between}{rest}" for first, between, rest in parts]


def _way(kind: str, way: str, word: Words) -> str:
    return word(FULL[kind]) if way == "full" else word(KINDS[kind]).format(size=f"{int(way):,}")


def _cells(found: Mapping[str, Any], word: Words) -> list[str]:
    return [_cell(found[name], found["to the full way"][name], word) for name in METRICS]


def _cell(value: float, change: Mapping[str, Any], word: Words) -> str:
    if change["low"] == change["high"] == 0:
        return f"{value:.4f}"
    difference, low, high = (f"{1000 * change[name]:+.1f}" for name in ("difference", "low", "high"))
    return f"{value:.4f} ({difference}, {low} {word('to')} {high})"


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    "large_lost": (FILE, lost),
    "large_taken": (FILE, taken),
}
