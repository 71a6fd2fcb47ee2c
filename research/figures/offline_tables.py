"""The tables of the offline steps: what they take, what their models reach, what an index of the vectors loses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from research.figures.tables import Figure, Words, measured, table

CHINESE = {
    "peak MB": "内存峰值 MB", "source's seconds": "源项目的秒数", "all": "合计", "rows": "样本", "AUC": "AUC",
    "train": "训练", "over 3 seeds": "3 个种子", "validation": "验证", "test": "测试", "to": "至",
    "columns": "列数", "which": "哪些列", "the source's": "源项目的列", "with the neighbours": "加上近邻",
    "with the factors": "加上因子模型", "with both": "两者都加", "validation AUC": "验证 AUC",
    "test AUC": "测试 AUC", "test GAUC": "测试 GAUC", "channel": "通道", "index": "索引",
    "found of the exact": "找到精确结果的", "worst user": "最差的用户", "flat": "逐个比较（flat）",
    "hnsw": "图（hnsw）", "from second": "开始于第几秒", "of the cores": "占用的核",
    "channels, lists and ranker": "通道、列表和排序模型",
    "expanded": "扩展", "the source": "来源", "events": "事件", "users": "用户", "items": "物品",
    "top 1%": "最热门的 1 %", "top 10%": "最热门的 10 %", "gini": "Gini", "events of a user": "一个用户的事件",
    "events of a session": "一个会话的事件", "sessions of a user": "一个用户的会话数",
    "a genre's share differs by": "类型的份额相差",
}  # fmt: skip


def _auc(model: str) -> Callable[[Figure, Words], str]:
    def render(figure: Figure, word: Words) -> str:
        found = figure[model]
        head = (word("rows"), word("AUC"), word("over 3 seeds"))
        rows = [
            (word(part), f"{v['by_seed'][0]:.4f}", f"{v['min']:.4f} {word('to')} {v['max']:.4f}")
            for part, v in found.items()
        ]
        return f"{table(head, rows)}\n\n{measured(figure, word)}"

    return render


def offline(figure: Figure, word: Words) -> str:
    """Seconds, share of the cores and memory of every offline step, beside the source's seconds."""
    head = [word(h) for h in ("step", "from second", "seconds", "of the cores", "peak MB", "source's seconds")]
    rows = [_step_row(f"`{step['step']}`", step) for step in figure["steps"]]
    rows += [
        _step_row(word("channels, lists and ranker"), {"seconds": figure.get("training_seconds")}),
        _step_row(word("all"), figure),
    ]
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def _step_row(name: str, took: Figure) -> Sequence[object]:
    share = f"{took['share']:.0%}" if "share" in took else None
    memory = took.get("peak_rss_mb", took.get("peak_mb"))
    return name, took.get("began"), took["seconds"], share, memory, took.get("source_seconds")


def ratings(figure: Figure, word: Words) -> str:
    """Rating prediction with the source's columns and with more: chosen on validation, the test rows read once."""
    source, added = sorted(int(key) for key in figure if key.isdigit())
    rows = [(source, "the source's", figure[str(source)]), (added, "with both", figure[str(added)])]
    rows += [(part["columns"], f"with the {name}", part) for name, part in figure["parts"].items()]
    head = ("columns", "which", "validation AUC", "test AUC", "test GAUC")
    cells = [
        (columns, word(which), f"{found['validation']['auc']:.4f}", *(_test_score(found, m) for m in ("auc", "gauc")))
        for columns, which, found in sorted(rows, key=lambda row: row[0])
    ]
    return f"{table([word(name) for name in head], cells)}\n\n{measured(figure, word)}"


def _test_score(found: Figure, metric: str) -> str | None:
    return f"{found['test'][metric]:.4f}" if "test" in found else None


def index(figure: Figure, word: Words) -> str:
    """What a graph of vectors finds of the exact candidates, and how long a search takes."""
    head = [
        word(h)
        for h in (
            "channel",
            "index",
            "shards",
            "num_candidates",
            "found of the exact",
            "worst user",
            "p50 ms",
            "p99 ms",
        )
    ]
    rows = [
        (
            f"`{row['channel']}`",
            word(row["index"]),
            row["shards"],
            row["num_candidates"],
            f"{row['found']:.1%}",
            f"{row['found by the worst served']:.1%}",
            row["p50_ms"],
            row["p99_ms"],
        )
        for row in figure["rows"]
    ]
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def synthesis(figure: Figure, word: Words) -> str:
    """What expansions keep of the structure of their source: a column for each."""
    found = figure["rows"]
    source = found["source"]

    def row(name: str, cell: Callable[[Figure], str]) -> tuple[str, ...]:
        return (word(name), *map(cell, found.values()))

    def count(name: str) -> tuple[str, ...]:
        return row(name, lambda each: f"{each[name]:,}")

    def popularity(name: str) -> tuple[str, ...]:
        return row(name, lambda each: f"{each['popularity'][name]:.3f}")

    def quantiles(name: str) -> tuple[str, ...]:
        return row(name, lambda each: ", ".join(f"{q} {n:,}" for q, n in each[name].items() if q != "most"))

    def difference(each: Figure) -> str:
        return f"{max(abs(each['terms'][name] - share) for name, share in source['terms'].items()):.4f}"

    rows = [
        *map(count, ("events", "users", "items")),
        *map(popularity, source["popularity"]),
        *map(quantiles, ("events of a user", "events of a session")),
        row("sessions of a user", lambda each: f"{each['sessions of a user']:.2f}"),
        row("a genre's share differs by", difference),
    ]
    head = (word("expanded"), *(word("the source") if name == "source" else name for name in found))
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    "fm": ("offline_seeds.json", _auc("fm")),
    "deepfm": ("offline_seeds.json", _auc("deepfm")),
    "offline": ("offline_bench.json", offline),
    "ratings": ("rating_prediction.json", ratings),
    "index": ("vector_index.json", index),
    "synthesis": ("synthesis.json", synthesis),
}
