"""Put the measured figures into the READMEs, between ``<!-- figures: name -->`` and ``<!-- /figures -->``.

Every figure of the READMEs stands in ``pic/figures``, in a file that a command of this repository wrote; those of the
source, in ``source.json``, were measured once with its own code.

Reads   pic/figures/*.json
Writes  README.md and README.zh-CN.md, of the root and of each room
Run     make readme        (python pic/readme.py --check: only say whether they are up to date)
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import evaluation_tables
import events_tables
import serving_tables
from tables import Figure, Words, measured, read, table

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (".", "offline", "offline/evaluation", "offline_to_online", "online", "online/bench", "data_exchange_center")
SOURCE = "source.json"  # the one file that no command writes: what was measured of the source, and how
BLOCK = re.compile(r"(?P<open><!-- figures: (?P<name>\w+) -->\n).*?(?P<close><!-- /figures -->)", re.DOTALL)

CHINESE = {
    "step": "步骤", "seconds": "秒", "peak MB": "内存峰值 MB", "source's seconds": "源项目的秒数", "all": "合计",
    "part": "部分", "empty machine": "全新机器", "again": "再来一次", "rows": "样本", "AUC": "AUC", "train": "训练",
    "over 3 seeds": "3 个种子", "validation": "验证", "test": "测试", "concurrency": "并发", "requests/s": "请求/秒",
    "p50 ms": "p50 毫秒", "p99 ms": "p99 毫秒",
    "source's requests/s": "源项目 请求/秒", "source's p50 ms": "源项目 p50 毫秒",
    "setup": "安装", "offline": "离线", "services": "启动服务", "sync": "同步", "server": "上线", "to": "至",
    "list": "列表", "popularity": "热门榜", "returning after an hour: recall@200": "一小时后回来的人：recall@200",
    "columns": "列数", "which": "哪些列", "the source's": "源项目的列", "with the neighbours": "加上近邻",
    "with the factors": "加上因子模型", "with both": "两者都加", "validation AUC": "验证 AUC", "test AUC": "测试 AUC",
    "test GAUC": "测试 GAUC",
    "channel": "通道", "index": "索引", "found of the exact": "找到精确结果的", "worst user": "最差的用户",
    "flat": "逐个比较（flat）", "hnsw": "图（hnsw）",
    "`make test` takes {all} seconds ({parts}).": "`make test` 需要 {all} 秒（{parts}）。",
    "lint": "静态检查", "unit tests": "单元测试", "service tests": "服务测试",
    "end-to-end tests": "端到端测试", "browser tests": "浏览器测试",
    "{first} seconds on an empty machine ({parts}), {again} when it runs again.":
        "全新的机器上 {first} 秒（{parts}），再运行一次 {again} 秒。",
    "An answer takes {plain} ms, with what recall found {recall}, explained {explained}: {times} times as long, "
    "medians of requests in turns.":
        "一个回答用 {plain} 毫秒，带上召回的结果 {recall} 毫秒，带上解释 {explained} 毫秒："
        "是前者的 {times} 倍（轮流请求的中位数）。",
    "container": "容器", "image MB": "镜像 MB", "of them shared": "其中共用",
    "seconds to healthy": "到健康的秒数", "memory MB": "内存 MB",
    "away": "缺了", "all there": "一个不缺", "no Triton": "没有 Triton", "no Feast": "没有 Feast",
    "no Feast, a user not seen before": "没有 Feast，用户之前没来过", "no Elasticsearch": "没有 Elasticsearch",
    "no Redis": "没有 Redis", "no Redis, a user not seen before": "没有 Redis，用户之前没来过",
    "none of the four": "四个都没有", "none of the four, a user not seen before": "四个都没有，用户之前没来过",
    "{count} users.": "{count} 名用户。",
    "Measured by": "由", "on": "测于", "service versions": "服务版本", "cores": "核", "data": "数据",
    **evaluation_tables.CHINESE,
    **serving_tables.CHINESE,
    **events_tables.CHINESE,
}  # fmt: skip

# What a person wants to see of the demo's output: the data, what was trained, what was loaded and checked, the answer.
BRIEF = (
    r"ratings of [\d,]+ users", r"^tower:", r"lists of", r" is ready on port ",
    r"^release .* in (Redis|Elasticsearch|Feast|Triton)\b", r"offline against online", r"^  score ", r" is live$",
    r"^┃  #", r"^…$", r"^release .* ms", r"^triton .* ms",
)  # fmt: skip


def demo(figure: Figure, word: Words) -> str:
    """Seconds of each part of `make demo`, the first time and again."""
    parts = [*figure["again"]]
    head = (word("part"), *(f"{word(run)}, {word('seconds')}" for run in ("empty machine", "again")))
    rows = [(word(part), figure["first"].get(part), figure["again"].get(part)) for part in parts]
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def demo_time(figure: Figure, word: Words) -> str:
    """The same in a sentence."""
    first, again = figure["first"], figure["again"]
    parts = ", ".join(f"{word(part)} {seconds}" for part, seconds in first.items() if part != "all")
    took = word("{first} seconds on an empty machine ({parts}), {again} when it runs again.")
    return f"{took.format(first=first['all'], again=again['all'], parts=parts)} {measured(figure, word)}"


def printed(figure: Figure, word: Words) -> str:
    """What `make demo` prints, cut short."""
    return "```text\n" + "\n".join(figure["printed"]) + "\n```"


def brief(figure: Figure, word: Words) -> str:
    """What each part of `make demo` says of itself, in a line or two."""
    lines = [line for line in figure["printed"] if any(re.search(pattern, line) for pattern in BRIEF)]
    return "```text\n" + "\n".join(lines) + "\n```"


def test(figure: Figure, word: Words) -> str:
    """Seconds of `make test` and of its parts."""
    parts = ", ".join(f"{word(part['part'])} {part['seconds']}" for part in figure["parts"])
    took = word("`make test` takes {all} seconds ({parts}).")
    return f"{took.format(all=sum(part['seconds'] for part in figure['parts']), parts=parts)} {measured(figure, word)}"


def sync(figure: Figure, word: Words) -> str:
    """Seconds of each sync step, as `make demo` ran it."""
    head = (word("step"), word("seconds"))
    return f"{table(head, figure['sync_steps'].items())}\n\n{measured(figure, word)}"


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
    took = word(
        "An answer takes {plain} ms, with what recall found {recall}, explained {explained}: {times} times as long, "
        "medians of requests in turns."
    )
    cost = took.format(**ms, times=f"{ms['explained'] / ms['plain']:.1f}")
    example = "{" + ",\n ".join(parts) + "}\n\n" + json.dumps(lost, ensure_ascii=False)[:-1] + ", …}"
    return f"```\n{example}\n```\n\n{cost} {measured(figure, word)}"


def _cut_short(part: object) -> str:
    """As JSON, with dots where a list goes on."""
    return json.dumps(part, ensure_ascii=False).replace("}]", "}, …]")


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
    """Seconds and memory of every offline step, beside the source's."""
    head = (word("step"), word("seconds"), word("peak MB"), word("source's seconds"))
    rows = [(f"`{s['step']}`", s["seconds"], s["peak_rss_mb"], s["source_seconds"]) for s in figure["steps"]]
    rows.append((word("all"), figure["seconds"], figure["peak_rss_mb"], figure["source_seconds"]))
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def serving(figure: Figure, word: Words) -> str:
    """Requests per second and latency by concurrency, beside the source's."""
    head = [
        word(h) for h in ("concurrency", "requests/s", "p50 ms", "p99 ms", "source's requests/s", "source's p50 ms")
    ]
    source = {level["concurrency"]: level for level in read(SOURCE)["serving"]}
    rows = []
    for level in figure["levels"]:
        known = source.get(level["concurrency"], {})
        theirs = (known.get("requests_per_s"), known.get("p50_ms"))
        rows.append((level["concurrency"], level["requests_per_s"], level["p50_ms"], level["p99_ms"], *theirs))
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


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
        word(h) for h in ("channel", "index", "num_candidates", "found of the exact", "worst user", "p50 ms", "p99 ms")
    ]
    rows = [
        (
            f"`{row['channel']}`",
            word(row["index"]),
            row["num_candidates"],
            f"{row['found']:.1%}",
            f"{row['found by the worst served']:.1%}",
            row["p50_ms"],
            row["p99_ms"],
        )
        for row in figure["rows"]
    ]
    return f"{table(head, rows)}\n\n{measured(figure, word)}"


def containers(figure: Figure, word: Words) -> str:
    """Of each container: its image, how much of it the others share, its start and its memory."""
    head = ("container", "image MB", "of them shared", "seconds to healthy", "memory MB")
    keys = ("size_mb", "shared_mb", "seconds_to_healthy", "memory_mb")
    rows = [(f"`{row['service']}`", *(row[key] for key in keys)) for row in figure["containers"]]
    return f"{table([word(name) for name in head], rows)}\n\n{measured(figure, word)}"


def degraded(figure: Figure, word: Words) -> str:
    """What each answer is worth that lacks a service."""
    metrics = [*next(iter(figure["cases"].values()))]
    rows = [(word(case), *(f"{found[name]:.4f}" for name in metrics)) for case, found in figure["cases"].items()]
    users = word("{count} users.").format(count=figure["users"])
    return f"{table((word('away'), *metrics), rows)}\n\n{users} {measured(figure, word)}"


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    "demo": ("demo.json", demo),
    "demo_time": ("demo.json", demo_time),
    "printed": ("demo_output.json", printed),
    "brief": ("demo_output.json", brief),
    "test": ("test.json", test),
    "sync": ("demo.json", sync),
    "answer": ("demo.json", answer),
    "explained": ("explain.json", explained),
    "fm": ("offline_seeds.json", _auc("fm")),
    "deepfm": ("offline_seeds.json", _auc("deepfm")),
    "offline": ("offline_bench.json", offline),
    "serving": ("serving.json", serving),
    "ratings": ("rating_prediction.json", ratings),
    "index": ("vector_index.json", index),
    "containers": ("containers.json", containers),
    "degraded": ("degraded.json", degraded),
    **evaluation_tables.BLOCKS,
    **serving_tables.BLOCKS,
    **events_tables.BLOCKS,
}


def rendered(text: str, word: Words) -> str:
    """The README with every block filled from its file; a block whose file is missing is an error."""

    def fill(block: re.Match[str]) -> str:
        name, draw = BLOCKS[block["name"]]
        return block["open"] + draw(read(name), word) + "\n" + block["close"]

    return BLOCK.sub(fill, text)


def readmes() -> dict[Path, Words]:
    """Every README and the words of its language."""
    languages: dict[str, Words] = {
        "README.md": lambda text: text,
        "README.zh-CN.md": lambda text: CHINESE.get(text, text),
    }
    return {ROOT / room / name: word for room in ROOMS for name, word in languages.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a README is out of date")
    check = parser.parse_args().check
    for path, word in readmes().items():
        old = path.read_text(encoding="utf-8")
        new = rendered(old, word)
        if check and new != old:
            sys.exit(f"{path.relative_to(ROOT)} does not show the figures of pic/figures: run make readme")
        if not check:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
