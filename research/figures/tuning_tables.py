"""The table of a recipe's numbers beside other values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from research.figures.tables import Figure, Words, measured, table

NOTE = (
    "Differences of the NDCG@50, in thousandths, to the recipe as it is: of the fused lists ({recall}) for what recall "
    "is made of, of the ranked ones ({ranked}) for `candidates` and the ranker. * p < .05 of the paired difference, "
    "** p < .001. {users} users."
)
CHINESE = {
    "part": "部分", "number": "数值", "beside other values": "换成别的取值",
    NOTE:
        "NDCG@50 与本配方原样之差，单位千分之一：召回的各项按融合后的列表（{recall}），"
        "`candidates` 与排序模型的各项按排序后的列表（{ranked}）。* 配对之差 p < .05，** p < .001。{users} 名用户。",
}  # fmt: skip


def tuned(figure: Figure, word: Words) -> str:
    """One line a number: what was tried instead, and what that changes."""
    rows: dict[tuple[str, str], list[str]] = {}
    for row in figure["rows"].values():
        said = f"{_value(row['value'])}: {_change(row['to the recipe'])}"
        rows.setdefault((row["part"], row["setting"]), []).append(said)
    lines = [(part, f"`{setting}`", ", ".join(said)) for (part, setting), said in rows.items()]
    own = {stage: f"{found['ndcg@50']:.4f}" for stage, found in figure["as it is"].items()}
    note = word(NOTE).format(**{"recall": "-", "ranked": "-", **own}, users=f"{figure['users']:,}")
    head = (word("part"), word("number"), word("beside other values"))
    return f"{table(head, lines)}\n\n{note} {measured(figure, word)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(str, value))
    return value if isinstance(value, str) else f"{value:g}"


def _change(found: Mapping[str, Any]) -> str:
    p = found["p_value"]
    return f"{1000 * found['difference']:+.1f}{'**' if p < 0.001 else '*' if p < 0.05 else ''}"


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {"tune_recipe": ("tune_recipe.json", tuned)}
