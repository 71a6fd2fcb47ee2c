"""The evaluation's blocks of figures: systems, funnel, slices, exact search, both recipes, ML-100K."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from research.figures.tables import Figure, Words, measured, read, span, table

NAMES = {
    "source: recall": "the source's recall",
    "source: ranked": "the source's recall and ranker",
    "default: channel tower": "two towers alone",
    "default: channel ease": "EASE as vectors alone",
    "default: recall": "fused recall",
    "default: ranked": "fused recall and ranker",
    "channel tower": "two towers alone",
    "channel ease": "EASE as vectors alone",
    "recall": "fused recall",
    "ranked": "fused recall and ranker",
}
METRICS = {"recall@200": "recall@200", "recall@50": "recall@50", "ndcg@50": "NDCG@50"}
RETURNING = "returning: recall@200"
HEADLINE = {
    "popularity": "the most liked films, for everybody",
    "EASE": "EASE, an item-item model",
    "source: ranked": "recipe `source`",
    "default: ranked": "recipe `default`",
}
SLICED = ("popularity", "EASE", "source: ranked", "default: ranked")
SLICES = {
    "returning": "back after an hour or more",
    "same session": "in the same session",
    "few ratings": "fewer than 50 ratings",
    "many ratings": "200 ratings or more",
    "popular films": "popular films",
    "rare films": "rare films",
}


def evaluation(figure: Figure, word: Words) -> str:
    """What several recommenders find of the last ten, with intervals, and of those who come back."""
    head = (word("list"), "recall@200", "recall@50", "NDCG@50", word("returning after an hour: recall@200"))
    rows = []
    for system, found in figure["systems"].items():
        returning = figure["slices"][system]["returning"]["recall@200"]
        values = (f"{found[metric]['mean']:.3f}" for metric in ("recall@50", "ndcg@50"))
        rows.append((name_of(system, word), span(found["recall@200"]), *values, span(returning)))
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def headline(figure: Figure, word: Words) -> str:
    """Four recommenders in one table: every user, and the few who come back after a break."""
    back = word("back after an hour or more")
    head = (word("list"), "recall@200", "NDCG@50", f"recall@200, {back}", f"NDCG@50, {back}")
    rows = []
    for system, name in HEADLINE.items():
        where = figure if system in figure["systems"] else read("evaluation_source.json")  # measured by itself
        found, returning = where["systems"][system], where["slices"][system]["returning"]
        rows.append((
            word(name), f"{found['recall@200']['mean']:.3f}", f"{found['ndcg@50']['mean']:.3f}",
            span(returning["recall@200"]), span(returning["ndcg@50"]),
        ))  # fmt: skip
    slices = figure["slices"]["default: ranked"]
    people = word("{same} of {users} users are asked for within a running session, {back} come back after a break.")
    users = (slices[name]["recall@200"]["users"] for name in ("same session", "returning"))
    same, returned = (f"{count:,}" for count in users)
    note = people.format(same=same, back=returned, users=f"{figure['users']:,}")
    return f"{table(head, rows)}\n\n{note} {measured(figure, word)}"


def funnel(figure: Figure, word: Words) -> str:
    """Share of what was liked that each stage still holds."""
    cuts = ("200", "50", "10")
    found = figure["funnel"]
    rows: list[Sequence[object]] = []
    for channel in found[cuts[0]]["channels"]:
        for key, label in (("found", "found by {}"), ("by no other", "... and by no other")):
            rows.append((word(label).format(channel), *(f"{found[cut]['channels'][channel][key]:.3f}" for cut in cuts)))
    for key, label in (("found by any", "found by any channel"), ("fused", "fused"), ("ranked", "ranked")):
        rows.append((word(label), *(f"{found[cut][key]:.3f}" for cut in cuts)))
    head = (word("stage"), *(f"{word('among the first')} {cut}" for cut in cuts))
    size, kept = found["candidates"]["size"], found["candidates"]["found"]
    among = f"{word('Among all candidates of the ranker')} ({size}): {kept:.3f}."
    gains = (f"{METRICS[metric]} {paired(figure['ranking'][metric])}" for metric in METRICS)
    ranker = f"{word('Ranked against fused, paired over users')}: {', '.join(gains)}."
    return f"{table(head, rows)}\n\n{among} {ranker} {measured(figure, word)}"


def slices(figure: Figure, word: Words) -> str:
    """recall@200 by kind of user and of film, with intervals."""
    systems = [system for system in SLICED if system in figure["slices"]]
    head = (word("slice"), word("users"), *(name_of(system, word) for system in systems))
    rows = []
    for name, label in SLICES.items():
        found = [figure["slices"][system][name]["recall@200"] for system in systems]
        rows.append((word(label), f"{found[0]['users']:,}", *map(span, found)))
    return f"{table(head, rows)}\n\nrecall@200. {measured(figure, word)}"


def recipes(figure: Figure, word: Words) -> str:
    """Both recipes through the running server: what they find."""
    figures = {"source": read("evaluation_source.json"), "default": figure}
    rows: list[Sequence[object]] = [
        (label, *(f"{_ranked(name, found)[metric]['mean']:.3f}" for name, found in figures.items()))
        for metric, label in {**METRICS, "hit_rate@50": word("hit rate@50")}.items()
    ]
    returning = (found["slices"][f"{name}: ranked"]["returning"]["recall@200"] for name, found in figures.items())
    rows.append((word(RETURNING), *(f"{part['mean']:.3f}" for part in returning)))
    for metric in ("coverage@50", "gini@50"):
        rows.append((word(metric), *(f"{_ranked(name, found)[metric]:.3f}" for name, found in figures.items())))
    for metric in ("novelty@50", "diversity@50"):
        rows.append((word(metric), *(f"{_ranked(name, found)[metric]['mean']:.3f}" for name, found in figures.items())))
    rows.append((word("GAUC, liked against rated"), *(f"{_gauc(found):.3f}" for found in figures.values())))
    return f"{table(('', *map(word, figures)), rows)}\n\n{measured(figure, word)}"


def recipes_speed(figure: Figure, word: Words) -> str:
    """How long both take to answer."""
    levels = {name: figure["recipes"][name]["levels"] for name in ("source", "default")}
    rows = [
        (f"{word('p50 ms')}, {both[0]['concurrency']} {word('in flight')}", *(level["p50_ms"] for level in both))
        for both in zip(*levels.values(), strict=True)
    ]
    return f"{table(('', *map(word, levels)), rows)}\n\n{measured(figure, word)}"


def exact(figure: Figure, word: Words) -> str:
    """What approximate search loses."""
    head = (word("list"), word("items shared"), word("users with the same list"), *METRICS.values())
    rows = [
        (
            name_of(stage, word),
            f"{found['shared']:.2%}",
            f"{found['users with the same list']:,} / {found['users']:,}",
            *(f"{found[metric]:+.5f}" for metric in METRICS),
        )
        for stage, found in figure["live against exact"].items()
    ]
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def labelled(figure: Figure, word: Words) -> str:
    """AUC and GAUC of both recipes' rankers over their candidates, beside recall's order of the same."""
    figures = {"source": read("evaluation_source.json"), "default": figure}
    head = ("", *map(word, ("rows", "AUC", "GAUC", "GAUC of recall's order")))
    rows = []
    for recipe, found in figures.items():
        for name, part in found["labelled"].items():
            values = (f"{part[key]:.3f}" for key in ("auc", "gauc", "gauc of recalled order"))
            rows.append((f"{word(recipe)}: {word(name)}", f"{part['rows']:,}", *values))
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def _ranked(recipe: str, figure: Figure) -> Mapping[str, Any]:
    found: Mapping[str, Any] = figure["systems"][f"{recipe}: ranked"]
    return found


def _gauc(figure: Figure) -> float:
    value: float = figure["labelled"]["liked against rated"]["gauc"]
    return value


def name_of(system: str, word: Words) -> str:
    return word(NAMES.get(system, system))


def paired(found: Figure) -> str:
    """A paired difference, and how likely chance alone makes one as large."""
    chance = "p < .001" if found["p_value"] < 0.001 else f"p = {found['p_value']:.3f}"
    return f"{found['difference']:+.4f} ({chance})"


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    "evaluation": ("evaluation.json", evaluation),
    "headline": ("evaluation.json", headline),
    "funnel": ("evaluation.json", funnel),
    "slices": ("evaluation.json", slices),
    "exact": ("evaluation.json", exact),
    "recipes": ("evaluation.json", recipes),
    "recipes_speed": ("serving_recipes.json", recipes_speed),
    "labelled": ("evaluation.json", labelled),
    "ml100k": ("evaluation_offline_ml-100k.json", evaluation),
}

CHINESE = {
    "list": "列表", "popularity": "热门榜",
    "returning after an hour: recall@200": "一小时后回来的人：recall@200",
    "the most liked films, for everybody": "热门榜，人人相同", "EASE, an item-item model": "EASE（item-item 模型）",
    "recipe `source`": "`source` 配方", "recipe `default`": "`default` 配方",
    "the source's recall": "源项目的召回", "the source's recall and ranker": "源项目的召回与排序",
    "two towers alone": "仅双塔", "EASE as vectors alone": "仅 EASE 向量", "fused recall": "融合召回",
    "fused recall and ranker": "融合召回与排序", "stage": "阶段", "among the first": "前",
    "found by {}": "{} 找到", "... and by no other": "……且别的通道没有找到", "found by any channel": "任一通道找到",
    "fused": "融合后", "ranked": "排序后", "Among all candidates of the ranker": "排序模型的全部候选中",
    "Ranked against fused, paired over users": "排序后与融合后相比（按用户配对）",
    "slice": "切片", "users": "用户数", "back after an hour or more": "一小时或更久之后回来",
    "in the same session": "同一次会话中", "fewer than 50 ratings": "评分少于 50",
    "200 ratings or more": "评分 200 及以上",
    "popular films": "热门影片", "rare films": "冷门影片",
    "returning: recall@200": "回来的人：recall@200",
    "{same} of {users} users are asked for within a running session, {back} come back after a break.":
        "{users} 位用户中有 {same} 位是在一次正在进行的会话中被问到的，{back} 位是隔了一段时间才回来的。",
    "hit rate@50": "命中率@50",
    "coverage@50": "覆盖率@50", "gini@50": "基尼系数@50", "novelty@50": "新颖度@50", "diversity@50": "列表内多样性@50",
    "GAUC, liked against rated": "GAUC（喜欢与评过但不喜欢）", "in flight": "并发",
    "source": "源项目的配方", "default": "default 配方",
    "GAUC of recall's order": "召回顺序的 GAUC", "liked against rated": "喜欢的与评过但不喜欢的",
    "liked against all candidates": "喜欢的与全部候选", "GAUC": "GAUC",
    "items shared": "相同物品", "users with the same list": "列表完全相同的用户",
}  # fmt: skip
