"""The table of rivals: what each finds, how it stands to the recipe, how long it trained and how it was tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from research.figures.tables import Figure, Words, measured, table

METRICS = {"recall@200": "recall@200", "recall@50": "recall@50", "ndcg@50": "NDCG@50"}
RETURNING = "returning: recall@200"
FUSION = "the best fusion of them"
SETTINGS = "{tried} settings"
MORE = "{tried} settings, more to try"
TABLE = (
    "{users} users. In brackets: 95 % intervals of the paired difference. Settings were chosen by their NDCG@50 on the "
    "ten before the last ten. Seconds are those of the one training of the chosen setting, on {machines}."
)
SO_FAR = "Not fully tuned yet, and so perhaps weaker than they could be: {rivals}."
NOT_YET = "Not measured yet: {rivals}."
CHINESE = {
    "NDCG@50 to the recipe's, paired": "NDCG@50 与本配方之差（配对）", "trained for": "训练时间", "tuned": "调参",
    "popularity of the last days": "最近几天的热门榜", "weighted item-kNN": "加权 item-kNN",
    "weighted EASE": "加权 EASE", "Markov chain": "马尔可夫链", "iALS": "iALS", "eSASRec": "eSASRec", "HSTU": "HSTU",
    FUSION: "它们的最佳融合", SETTINGS: "{tried} 组设置", MORE: "{tried} 组设置，尚未试完",
    "{seconds} s": "{seconds} 秒", "{minutes} min": "{minutes} 分钟",
    TABLE:
        "{users} 名用户。括号中是配对之差的 95% 区间。设置按最后十个之前的十个评分上的 NDCG@50 选出。"
        "时间是所选设置训练一次所用，测于 {machines}。",
    SO_FAR: "尚未调完，因而可能还不是最强：{rivals}。",
    NOT_YET: "还没有测：{rivals}。",
}  # fmt: skip
EXPECTED = (
    "popularity", "popularity of the last days", "weighted item-kNN", "weighted EASE", "Markov chain", "iALS",
    "eSASRec", "HSTU", FUSION,
)  # fmt: skip


def rivals(figure: Figure, word: Words) -> str:
    """Every rival beside the recipe, which comes last."""
    columns = (word("NDCG@50 to the recipe's, paired"), word("trained for"), word("tuned"))
    head = (word("list"), *METRICS.values(), word(RETURNING), *columns)
    there = {name: figure["rows"][name] for name in EXPECTED if name in figure["rows"]}
    rows = [
        (
            word(name),
            *_values(row),
            _change(row["to the recipe"]),
            _trained(row["seconds"], word),
            word(SETTINGS if row["searched"] else MORE).format(tried=row["settings tried"]),
        )
        for name, row in there.items()
    ]
    rows += [(word(name), *_values(row), "", "", "") for name, row in figure["references"].items()]
    machines = ", ".join(sorted({row["machine"] for row in there.values()}))
    notes = [word(TABLE).format(users=f"{figure['users']:,}", machines=machines)]
    for note, names in (
        (SO_FAR, [name for name, row in there.items() if not row["searched"]]),
        (NOT_YET, [name for name in EXPECTED if name not in there]),
    ):
        if names:
            notes.append(word(note).format(rivals=", ".join(map(word, names))))
    return f"{table(head, rows)}\n\n{' '.join(notes)} {measured(figure, word)}"


def _values(row: Mapping[str, Any]) -> list[str]:
    return [f"{row[metric]:.3f}" for metric in (*METRICS, RETURNING)]


def _change(found: Mapping[str, Any]) -> str:
    chance = "p < .001" if found["p_value"] < 0.001 else f"p = {found['p_value']:.3f}"
    return f"{found['difference']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f}, {chance})"


def _trained(seconds: float, word: Words) -> str:
    if seconds < 100:
        return word("{seconds} s").format(seconds=f"{seconds:.0f}")
    return word("{minutes} min").format(minutes=f"{seconds / 60:.0f}")


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {"rivals": ("rivals.json", rivals)}
