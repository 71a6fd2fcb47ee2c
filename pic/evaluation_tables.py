"""The evaluation's blocks of figures: systems, funnel, slices, ablation, seeds, both splits, both recipes, ML-100K."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tables import FIGURES, Figure, Words, measured, read, span, table

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
PUBLISHED = "leave_one_out_published.json"  # no command writes it: what others published, and where
CLOCKED = {
    "all": "all users",
    "first of its second": "whose first held-out rating is the first of its second",
    "returning": "back after an hour or more",
    "one moment for all": "one moment for all",
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
        rows.append((_name(system, word), span(found["recall@200"]), *values, span(returning)))
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def clock(figure: Figure, word: Words) -> str:
    """The same targets asked for at three times; last, those of the split at one moment for all."""
    asked = dict(figure["clock"])
    if (FIGURES / "evaluation_global.json").is_file():
        asked["one moment for all"] = read("evaluation_global.json").get("clock", {}).get("all", {})
    rows = [
        (word(CLOCKED[row]), word(name), *(_three(found) for found in systems[system].values()))
        for row, systems in asked.items()
        for system, name in (("recall", "fused recall"), ("ranked", "fused recall and ranker"))
        if system in systems
    ]
    times = [f"{word('asked')} {word(when)}" for when in asked["all"]["ranked"]]
    recall, ranked, back = asked["all"]["recall"], asked["all"]["ranked"], asked["returning"]["ranked"]
    worth = word(
        "recall@200 / recall@50 / NDCG@50. Asked now instead of in the sitting, recall's order keeps {recall} of its "
        "NDCG@50 on the sitting's targets and the ranker's {ranked}. Of those who come back after an hour, to whom the "
        "clock says the same at any time, the ranker keeps {back}."
    ).format(recall=_kept(recall), ranked=_kept(ranked), back=_kept(back))
    return f"{table(['', word('list'), *times], rows)}\n\n{worth} {measured(figure, word)}"


def last(figure: Figure, word: Words) -> str:
    """Leave-one-out, beside what was published of others."""
    names = {"hr@10": "HR@10", "ndcg@10": "NDCG@10", "hr@50": "HR@50", "hr@200": "HR@200"}

    def row(label: str, found: Mapping[str, float | None]) -> tuple[str, ...]:
        values = (found.get(metric) for metric in names)
        return (label, *("-" if value is None else f"{value:.3f}" for value in values))

    ours = [row(word(name), found) for name, found in figure["table"].items()]
    published = [row(f"{each['model']} ({each['by']})", each) for each in read(PUBLISHED)["rows"]]
    return f"{table([word('list'), *names.values()], ours + published)}\n\n{measured(figure, word)}"


def _three(found: Mapping[str, Any]) -> str:
    """The headline metrics of one cell; a dash where nobody was asked or the lists are too short."""
    return " / ".join(f"{found[m]:.3f}" if found.get(m) is not None else "-" for m in METRICS)


def _kept(found: Mapping[str, Any]) -> str:
    """Share of the sitting's NDCG@50 that is left now."""
    now, then = (found[when].get("ndcg@50") for when in ("now", "in the sitting"))
    return f"{now / then:.0%}" if now is not None and then else "-"


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
    gains = (f"{METRICS[metric]} {_change(figure['ranking'][metric])}" for metric in METRICS)
    ranker = f"{word('Ranked against fused, paired over users')}: {', '.join(gains)}."
    return f"{table(head, rows)}\n\n{among} {ranker} {measured(figure, word)}"


def slices(figure: Figure, word: Words) -> str:
    """recall@200 by kind of user and of film, with intervals."""
    systems = [system for system in SLICED if system in figure["slices"]]
    head = (word("slice"), word("users"), *(_name(system, word) for system in systems))
    rows = []
    for name, label in SLICES.items():
        found = [figure["slices"][system][name]["recall@200"] for system in systems]
        rows.append((word(label), f"{found[0]['users']:,}", *map(span, found)))
    return f"{table(head, rows)}\n\nrecall@200. {measured(figure, word)}"


def ablation(figure: Figure, word: Words) -> str:
    """What was tried, on the ten before the last ten."""
    head = (word("part"), word("what was tried"), *METRICS.values(), word(RETURNING), word("NDCG@50 to the recipe's"))
    rows = []
    for row in figure["rows"]:
        change = "" if row["name"] == figure["reference"] else _change(row["against reference"]["ndcg@50"])
        values = (f"{row[metric]:.4f}" for metric in (*METRICS, RETURNING))
        rows.append((word(row["group"]), word(row["name"]), *values, change))
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def seeds(figure: Figure, word: Words) -> str:
    """Mean and standard deviation over seeds."""
    head = (word("list"), *METRICS.values(), word(RETURNING))
    rows = [
        (_name(system, word), *(f"{found[m]['mean']:.4f} ± {found[m]['std']:.4f}" for m in (*METRICS, RETURNING)))
        for system, found in figure["systems"].items()
    ]
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def one_moment(figure: Figure, word: Words) -> str:
    """The split at one moment for all users beside the split per user: all of its users, and those who come back."""
    per_user, one = word("split per user"), word("split at one moment")
    head = [word("list")]
    for metric, label in METRICS.items():
        back = [f"{per_user}, {word('those who come back')}"] if metric == "recall@200" else []
        head += [f"{label}, {each}" for each in (per_user, *back, one)]
    rows = []
    for system, found in figure["per user"].items():
        values = [found["recall@200"], found[RETURNING], figure["table"][system]["recall@200"]]
        values += [each[metric] for metric in ("recall@50", "ndcg@50") for each in (found, figure["table"][system])]
        rows.append((_name(system, word), *(f"{value:.3f}" for value in values)))
    people = word("At one moment: {users} users, {returning} of them back after an hour or more.")
    asked = people.format(users=figure["users"], returning=figure["returning users"])
    return f"{table(head, rows)}\n\n{asked} {measured(figure, word)}"


def ties(figure: Figure, word: Words) -> str:
    """The recipe as it is beside the same fitted and asked with the events of each second in random order."""
    differences = figure["ndcg@50, shuffled to as it is"]
    pairs = ((label, word(each)) for label in METRICS.values() for each in ("as it is", "shuffled"))
    head = (word("list"), *map(", ".join, pairs), word("NDCG@50, difference"))
    rows = []
    for system, change in differences.items():
        both = (figure["table"][system], figure["table"][f"{system}, ties shuffled"])
        values = (f"{found[metric]:.3f}" for metric in METRICS for found in both)
        rows.append((_name(system, word), *values, _change(change)))
    share = word("{share} of a user's neighbouring events are of one second.").format(
        share=f"{figure['pairs of one second']:.0%}"
    )
    return f"{table(head, rows)}\n\n{share} {measured(figure, word)}"


def recipes(figure: Figure, word: Words) -> str:
    """Both recipes through the running server: what they find, how long they take to answer."""
    figures = {"source": read("evaluation_source.json"), "default": figure}
    served = read("serving_recipes.json") if (FIGURES / "serving_recipes.json").is_file() else None
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
    if served:
        for number, level in enumerate(served["recipes"]["source"]["levels"]):
            label = f"{word('p50 ms')}, {level['concurrency']} {word('in flight')}"
            rows.append((label, *(served["recipes"][name]["levels"][number]["p50_ms"] for name in figures)))
    notes = [measured(figure, word)]
    if served:
        notes.append(f"{word('Latency')}: {measured(served, word)}")
    return f"{table(('', *map(word, figures)), rows)}\n\n{' '.join(notes)}"


def exact(figure: Figure, word: Words) -> str:
    """What approximate search loses."""
    head = (word("list"), word("items shared"), word("users with the same list"), *METRICS.values())
    rows = [
        (
            _name(stage, word),
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


def _name(system: str, word: Words) -> str:
    return word(NAMES.get(system, system))


def _change(found: Figure) -> str:
    """A paired difference, and how likely chance alone makes one as large."""
    chance = "p < .001" if found["p_value"] < 0.001 else f"p = {found['p_value']:.3f}"
    return f"{found['difference']:+.4f} ({chance})"


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    "evaluation": ("evaluation.json", evaluation),
    "clock": ("evaluation.json", clock),
    "last": ("evaluation_last.json", last),
    "headline": ("evaluation.json", headline),
    "funnel": ("evaluation.json", funnel),
    "slices": ("evaluation.json", slices),
    "exact": ("evaluation.json", exact),
    "ablation": ("evaluation_ablation.json", ablation),
    "seeds": ("evaluation_seeds.json", seeds),
    "global": ("evaluation_global.json", one_moment),
    "ties": ("evaluation_ties.json", ties),
    "recipes": ("evaluation.json", recipes),
    "labelled": ("evaluation.json", labelled),
    "ml100k": ("evaluation_offline_ml-100k.json", evaluation),
}

CHINESE = {
    "as it is": "原样", "shuffled": "打乱", "NDCG@50, difference": "NDCG@50 之差",
    "{share} of a user's neighbouring events are of one second.": "同一用户相邻的事件有 {share} 在同一秒。",
    "list": "列表", "popularity": "热门榜",
    "returning after an hour: recall@200": "一小时后回来的人：recall@200",
    "recall, with the time": "融合召回，给出时间", "ranked, with the time": "融合召回与排序，给出时间",
    "recall, without the time": "融合召回，不给时间", "ranked, without the time": "融合召回与排序，不给时间",
    "asked": "询问时间：", "in the sitting": "会话当中", "an hour later": "一小时后", "now": "现在",
    "all users": "所有用户", "one moment for all": "按统一时刻切分",
    "whose first held-out rating is the first of its second": "第一个留出评分是那一秒里的第一个",
    "recall@200 / recall@50 / NDCG@50. Asked now instead of in the sitting, recall's order keeps {recall} of its "
    "NDCG@50 on the sitting's targets and the ranker's {ranked}. Of those who come back after an hour, to whom the "
    "clock says the same at any time, the ranker keeps {back}.":
        "recall@200 / recall@50 / NDCG@50。不在会话当中、而是“现在”问，对会话里的目标，召回的顺序保住 NDCG@50 的 "
        "{recall}，排序后保住 {ranked}。一小时后才回来的人，时间无论何时说的都一样：排序后保住 {back}。",
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
    "popular films": "热门影片", "rare films": "冷门影片", "what was tried": "试了什么",
    "returning: recall@200": "回来的人：recall@200", "NDCG@50 to the recipe's": "NDCG@50 与本配方之差",
    "At one moment: {users} users, {returning} of them back after an hour or more.":
        "按统一时刻：{users} 位用户，其中 {returning} 位在一小时或更久之后回来。",
    "{same} of {users} users are asked for within a running session, {back} come back after a break.":
        "{users} 位用户中有 {same} 位是在一次正在进行的会话中被问到的，{back} 位是隔了一段时间才回来的。",
    "split per user": "按用户切分", "those who come back": "其中回来的人", "split at one moment": "按统一时刻切分",
    "hit rate@50": "命中率@50",
    "coverage@50": "覆盖率@50", "gini@50": "基尼系数@50", "novelty@50": "新颖度@50", "diversity@50": "列表内多样性@50",
    "GAUC, liked against rated": "GAUC（喜欢与评过但不喜欢）", "in flight": "并发", "Latency": "延迟",
    "source": "源项目的配方", "default": "default 配方",
    "GAUC of recall's order": "召回顺序的 GAUC", "liked against rated": "喜欢的与评过但不喜欢的",
    "liked against all candidates": "喜欢的与全部候选", "GAUC": "GAUC",
    "items shared": "相同物品", "users with the same list": "列表完全相同的用户",
    "baseline": "基线", "channel alone": "单独通道", "search": "检索", "fusion": "融合", "ranker": "排序模型",
    "tower": "双塔", "ease": "EASE 向量", "fm": "FM",
    "tower, cosine instead of inner product": "双塔，用余弦代替内积",
    "tower, without the popularity dimension": "双塔，去掉热度一维",
    "fm, cosine instead of inner product": "FM，用余弦代替内积",
    **{f"z-scores 1:{weight}": f"标准化分数 1:{weight}" for weight in (0.2, 0.5, 1)},
    **{f"quotas {first}:1": f"配额 {first}:1" for first in (1, 4, 9)},
    "ranker: all inputs": "排序模型：全部输入",
    "ranker: over the fused list cut at what is shown": "排序模型：只给融合后展示的那么多",
    "ranker: over the union of all lists": "排序模型：各通道列表的并集",
    "ranker: without recall's scores and ranks": "排序模型：去掉召回的分数与名次",
    "ranker: without affinities to the history": "排序模型：去掉与历史的亲和度",
    "ranker: without what follows what": "排序模型：去掉“什么跟着什么”",
    "ranker: without item statistics": "排序模型：去掉影片统计",
    "ranker: without crossed statistics": "排序模型：去掉交叉统计",
    "ranker: recall's scores and ranks alone (learned fusion)": "排序模型：只有召回的分数与名次（学习式融合）",
    "ranker: trained on whole lists": "排序模型：用整个列表训练",
    "ranker: trained on half the sample of each list": "排序模型：每个列表的样本减半",
}  # fmt: skip
