"""Blocks of figures about the protocol: three clocks, leave-one-out, ablations, seeds, one moment for all, ties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from data_exchange_center.figures import FIGURES
from research.figures.evaluation_tables import METRICS, RETURNING, name_of, paired
from research.figures.tables import Figure, Words, measured, read, table

PUBLISHED = "leave_one_out_published.json"  # no command writes it: what others published, and where
CLOCKED = {
    "all": "all users",
    "first of its second": "whose first held-out rating is the first of its second",
    "returning": "back after an hour or more",
    "one moment for all": "one moment for all",
}


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


def ablation(figure: Figure, word: Words) -> str:
    """What was tried, on the ten before the last ten."""
    head = (word("part"), word("what was tried"), *METRICS.values(), word(RETURNING), word("NDCG@50 to the recipe's"))
    rows = []
    for row in figure["rows"]:
        change = "" if row["name"] == figure["reference"] else paired(row["against reference"]["ndcg@50"])
        values = (f"{row[metric]:.4f}" for metric in (*METRICS, RETURNING))
        rows.append((word(row["group"]), word(row["name"]), *values, change))
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def seeds(figure: Figure, word: Words) -> str:
    """Mean and standard deviation over seeds."""
    head = (word("list"), *METRICS.values(), word(RETURNING))
    rows = [
        (name_of(system, word), *(f"{found[m]['mean']:.4f} ± {found[m]['std']:.4f}" for m in (*METRICS, RETURNING)))
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
        rows.append((name_of(system, word), *(f"{value:.3f}" for value in values)))
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
        rows.append((name_of(system, word), *values, paired(change)))
    share = word("{share} of a user's neighbouring events are of one second.").format(
        share=f"{figure['pairs of one second']:.0%}"
    )
    return f"{table(head, rows)}\n\n{share} {measured(figure, word)}"


def _three(found: Mapping[str, Any]) -> str:
    """The headline metrics of one cell; a dash where nobody was asked or the lists are too short."""
    return " / ".join(f"{found[m]:.3f}" if found.get(m) is not None else "-" for m in METRICS)


def _kept(found: Mapping[str, Any]) -> str:
    """Share of the sitting's NDCG@50 that is left now."""
    now, then = (found[when].get("ndcg@50") for when in ("now", "in the sitting"))
    return f"{now / then:.0%}" if now is not None and then else "-"


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    "clock": ("evaluation.json", clock),
    "last": ("evaluation_last.json", last),
    "ablation": ("evaluation_ablation.json", ablation),
    "seeds": ("evaluation_seeds.json", seeds),
    "global": ("evaluation_global.json", one_moment),
    "ties": ("evaluation_ties.json", ties),
}

CHINESE = {
    "as it is": "原样", "shuffled": "打乱", "NDCG@50, difference": "NDCG@50 之差",
    "{share} of a user's neighbouring events are of one second.": "同一用户相邻的事件有 {share} 在同一秒。",
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
    "At one moment: {users} users, {returning} of them back after an hour or more.":
        "按统一时刻：{users} 位用户，其中 {returning} 位在一小时或更久之后回来。",
    "split per user": "按用户切分", "those who come back": "其中回来的人", "split at one moment": "按统一时刻切分",
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
    "what was tried": "试了什么",
    "NDCG@50 to the recipe's": "NDCG@50 与本配方之差",
}  # fmt: skip
