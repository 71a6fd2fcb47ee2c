"""The tables of diversity: what it costs and gives, and the ways that were compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from research.figures.tables import Figure, Words, measured, table

MEASURES = ("diversity by vectors", "diversity by genres", "coverage@50", "novelty", "calibration error")
COST = (
    "By validation {chosen} is the largest value that costs less than 1 %; on the last ten it costs {cost} of the "
    "NDCG@50 ({low} to {high}). {users} users, {asked} items asked for; re-ranking takes {p50} ms, p99 {p99} ms."
)
FOR = "Each at the strength, between those that were tried, that costs 1 % of the NDCG@50. {users} users."
CHINESE = {
    "cost": "代价", "diversity by vectors": "多样性（向量）", "diversity by genres": "多样性（类型）",
    "novelty": "新颖度", "calibration error": "校准误差", "way": "办法", "as ranked": "排序模型的顺序",
    "similarity and rarity": "相似度与冷门（线上所用）", "similarity and rarity, by vectors alone": "同上，只按向量",
    "similarity and rarity, by genres alone": "同上，只按类型", "mean similarity": "平均相似度，不看冷门",
    "largest similarity (MMR)": "最大相似度（MMR）", "determinants (DPP)": "行列式（DPP）",
    "calibrated genres": "类型校准", "rare items": "提前冷门电影",
    COST:
        "按验证集，{chosen} 是代价小于 1 % 的最大取值；在最后十个评分上代价是 NDCG@50 的 {cost}（{low} 至 {high}）。"
        "{users} 名用户，每次要 {asked} 个；重排用 {p50} 毫秒，p99 {p99} 毫秒。",
    FOR: "每种办法都取代价恰为 NDCG@50 的 1 % 的强度，在试过的强度之间插值。{users} 名用户。",
}  # fmt: skip


def diversity(figure: Figure, word: Words) -> str:
    """Every value of a request's ``diversity``."""
    rows, first = figure["diversity"], figure["diversity"]["0"]
    head = (word("diversity"), "NDCG@50", word("cost"), "recall@50", *map(word, MEASURES))
    lines = [
        (
            f"**{value}**" if float(value) == figure["chosen"] else value,
            f"{row['ndcg@50']['mean']:.4f}",
            _cost(row["change"]["difference"], first),
            f"{row['recall@50']['mean']:.4f}",
            *(f"{_mean(row[name]):.3f}" for name in MEASURES),
        )
        for value, row in rows.items()
    ]
    change = rows[f"{figure['chosen']:g}"]["change"]
    said = word(COST).format(
        chosen=f"{figure['chosen']:g}",
        cost=_cost(change["difference"], first),
        low=_cost(change["high"], first),
        high=_cost(change["low"], first),
        users=f"{figure['users']:,}",
        asked=figure["asked"],
        **{name: f"{ms:.2f}" for name, ms in figure["ms"].items()},
    )
    return f"{table(head, lines)}\n\n{said} {measured(figure, word)}"


def ways(figure: Figure, word: Words) -> str:
    """What each way gives for 1 % of the NDCG."""
    first = figure["ways"]["as ranked"]["0"]
    found = {"as ranked": {name: _mean(first[name]) for name in MEASURES}, **figure["for the cost"]}
    lines = [
        (word(name), *(None if row is None else f"{row[measure]:.3f}" for measure in MEASURES))
        for name, row in found.items()
    ]
    said = word(FOR).format(users=f"{figure['users']:,}")
    return f"{table((word('way'), *map(word, MEASURES)), lines)}\n\n{said} {measured(figure, word)}"


def _mean(value: Any) -> float:
    return float(value["mean"] if isinstance(value, Mapping) else value)


def _cost(difference: float, first: Figure) -> str:
    """What is lost, as a share of the NDCG without diversity."""
    return f"{round(-difference / first['ndcg@50']['mean'], 3) + 0:.1%}"  # no -0.0 %


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    "diversity": ("diversity.json", diversity),
    "diversity_ways": ("tune_diversity.json", ways),
}
