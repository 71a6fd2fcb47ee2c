"""The table of the replayed experiments: what is the same comes out even, what is better is found."""

from __future__ import annotations

from collections.abc import Callable

from research.figures.tables import Figure, Words, measured, table

SAID = (
    "Split: the gain of a user's liked items. Interleaved: the preference for the second arm. In brackets "
    "the 95 % interval, which holds at any time. {users} users, each asked for once in every experiment. Dealt anew, "
    "{wrong} of {redealt} A/A experiments ever left zero out."
)
CHINESE = {
    "experiment": "实验", "arms": "两组", "users of each": "每组用户", "difference or preference": "差别或偏好",
    "decided after": "到第几个用户时可下结论", "split": "分组", "interleaved": "交错", "never": "从不",
    SAID:
        "分组：用户喜欢的物品的 gain，对照组在前；交错：对第二组的偏好。括号里是 95 % 区间，在任何时刻都成立。"
        "{users} 个用户，每个在每个实验里问一次。重新分组的 {redealt} 个 A/A 实验里，有 {wrong} 个曾把零排除在外。",
}  # fmt: skip


def experiments(figure: Figure, word: Words) -> str:
    """Each experiment's result, and after how many users it could be told."""
    recipes = {release: recipe for recipe, release in figure["releases"].items()}
    rows = []
    for title, found in figure["experiments"].items():
        experiment = found["experiment"]
        arms = " / ".join(recipes[arm["release"]] for arm in experiment["arms"])
        split = experiment["kind"] == "split"
        result = found["differences"]["treatment"][experiment["metric"]] if split else found["preference"]
        users = " / ".join(f"{users:,}" for users in found["users"].values())
        interval = f"{result['estimate']:+.3f} ({result['low']:+.3f} {word('to')} {result['high']:+.3f})"
        name, _, kind = title.partition(", ")
        rows.append((f"{name}, {word(kind)}", arms, users, interval, _decided(result["path"]) or word("never")))
    head = ("experiment", "arms", "users of each", "difference or preference", "decided after")
    redealt = figure["redealt"]
    said = word(SAID).format(
        users=f"{figure['users']:,}", wrong=redealt["ever excluding 0"], redealt=redealt["experiments"]
    )
    return f"{table([word(name) for name in head], rows)}\n\n{said} {measured(figure, word)}"


def _decided(path: Figure) -> str:
    """After how many users the interval left zero out, to a half per cent of them; empty: it never did."""
    for users, low, high in zip(path["users"], path["low"], path["high"], strict=True):
        if low is not None and high is not None and (low > 0 or high < 0):
            return f"{users:,}"
    return ""


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {"experiments": ("experiments.json", experiments)}
