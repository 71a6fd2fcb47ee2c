"""Tables and sentences of the pages, printed from the files of pic/figures by the cog blocks in Markdown comments.

    <!-- [[[cog table("tune.json", "rows", {"number": "{name}", "NDCG@50": "{ndcg@50|.4f}"}) ]]] -->

A cell is text with ``{path|format}``. A path leads through keys and positions with ``/`` between, from the row; with a
``/`` in front it begins at the top of the file, with ``<name>.json/`` at the top of another one. There ``*`` is a key
of the row, and ``each`` collects the values below all keys. A format is one of Python's or of `FORMATS`.

Run:    make readme            (check=1: change nothing, and fail where a page does not show the files)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final

import yaml

FIGURES: Final = Path(__file__).resolve().parents[1] / "pic" / "figures"
_FIELD: Final = re.compile(r"\{([^{}|]*)\|?([^{}|]*)\}")
Keys = tuple[str, ...]


def read(file: str) -> Any:
    """A file of pic/figures, or YAML whose path begins there."""
    path = FIGURES / file
    text = path.read_text(encoding="utf-8")
    return yaml.safe_load(text) if path.suffix == ".yml" else json.loads(text)


# --- Values


def interval(value: Mapping[str, float]) -> str:
    return f"{value['mean']:.3f} ({value['low']:.3f}–{value['high']:.3f})"


def paired(value: Mapping[str, float]) -> str:
    """A paired difference, and how likely chance alone makes one as large."""
    chance = "p < .001" if value["p_value"] < 0.001 else f"p = {value['p_value']:.3f}"
    return f"{value['difference']:+.4f} ({chance})"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    deviation = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
    return f"{mean(values):.4f}{deviation}"


def lowest_and_highest(values: Sequence[float]) -> str:
    return f"{min(values):g}–{max(values):g}"


FORMATS: Final[Mapping[str, Callable[[Any], str]]] = {
    "interval": interval,
    "paired": paired,
    "spread": spread,
    "range": lowest_and_highest,
    "minutes": lambda seconds: f"{mean(seconds) / 60:.1f} min",
}


def formatted(value: Any, form: str) -> str:
    if value is None or value == "":
        return "-"
    if form in FORMATS:
        return FORMATS[form](value)
    if isinstance(value, list) and form:
        value = mean(value)
    return format(value, form)


# --- Paths


def lookup(value: Any, path: Sequence[str], keys: Keys = ()) -> Any:
    """What a path leads to; None where a key is not there. ``keys``: in place of each ``*``."""
    for place, part in enumerate(path):
        if part == "each":
            below = path[place + 1 :]
            return [lookup(each, below, keys) for each in value.values()]
        if part == "*":
            part, *rest = keys
            keys = tuple(rest)
        if isinstance(value, list):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return None
    return value


def rows_below(
    value: Any, path: Sequence[str], keys: Keys = ()
) -> Iterator[tuple[Keys, Any]]:
    """Keys and value of each row: all that is below the path, and below each ``*`` of it."""
    if not path:
        places = value.items() if isinstance(value, dict) else enumerate(value)
        for key, row in places:
            yield (*keys, str(key)), row
    elif path[0] == "*":
        for key, below in value.items():
            yield from rows_below(below, path[1:], (*keys, key))
    elif path[0] == "each":
        yield from rows_below(next(iter(value.values())), path[1:], keys)
    else:
        yield from rows_below(lookup(value, path[:1]), path[1:], keys)


def filled(
    template: str, figure: Any, row: Any, keys: Keys, words: Mapping[str, str]
) -> str:
    """A template with its fields. ``{name}`` is the row's last key, ``{0}`` its first one, as ``words`` have them."""
    names = {
        "name": keys[-1] if keys else "",
        **{str(place): key for place, key in enumerate(keys)},
    }

    def value(found: re.Match[str]) -> str:
        path, form = found.groups()
        if path in names and not (isinstance(row, dict) and path in row):
            return words.get(names[path], names[path])
        first, _, rest = path.partition("/")
        if first == "":
            top = figure if path else row
        elif first.endswith(".json"):
            top = read(first)
        else:
            top, rest = row, path
        return formatted(lookup(top, rest.split("/") if rest else (), keys), form)

    return _FIELD.sub(value, template)


# --- What a page calls


def table(file: str, rows: str, columns: Mapping[str, str], **more: Any) -> None:
    """Print a table, first column left, the others right.

    Args:
        rows: path of the rows in the file, which are below it.
        columns: heading -> template of its cells.
        more: as of `lines`.
    """
    head(columns, more.get("language", "en"))
    lines(file, rows, [*columns.values()], **more)


def head(headings: Iterable[str], language: str) -> None:
    shown = [WORDS[language].get(heading, heading).strip() for heading in headings]
    print(f"| {' | '.join(shown)} |")
    print("|---|" + "---:|" * (len(shown) - 1))


def lines(
    file: str,
    rows: str,
    cells: Sequence[str],
    *,
    only: Sequence[str] = (),
    language: str = "en",
) -> None:
    """Print further lines of a table.

    Args:
        only: the rows with these keys, in this order; all where it is empty.
    """
    figure = read(file)
    found = list(rows_below(figure, rows.split("/")))
    if only:
        found = [
            (keys, row) for name in only for keys, row in found if keys[-1] == name
        ]
    for keys, row in found:
        shown = [filled(cell, figure, row, keys, WORDS[language]) for cell in cells]
        print(f"| {' | '.join(shown)} |")


def say(file: str, template: str, *, language: str = "en") -> None:
    """Print a sentence; ``{measured}`` says what measured the file."""
    figure = read(file)
    text = template.replace("{measured}", measured(figure, language))
    print(filled(text, figure, figure, (), WORDS[language]))


def note(file: str, template: str = "", *, language: str = "en") -> None:
    """Print what stands below a table: a sentence about it, and what measured it."""
    print()
    space = " " if template and language == "en" else ""
    say(file, f"{template}{space}{{measured}}", language=language)


def code(file: str, path: str, language: str = "") -> None:
    """Print lines of the file as a block of code."""
    text = lookup(read(file), path.split("/"))
    print("\n".join((f"```{language}", *text, "```")))


def measured(figure: Mapping[str, Any], language: str = "en") -> str:
    """Command, machine, data set, version, commit and date of a file."""
    machine, age = figure["machine"], figure["measured"]
    data = DATA[language].format(figure["dataset"]) if "dataset" in figure else ""
    return MEASURED[language].format(**figure, **machine, **age, data=data)


# --- Words of the pages

MEASURED: Final = {
    "en": "Measured by `{command}` on {cpu}, {cores} cores, {memory_gb} GB{data}; "
    "version {version}, commit {commit}, {date}.",
    "zh": "测量命令：`{command}`，机器：{cpu}，{cores} 核，{memory_gb} GB{data}；"
    "版本 {version}，提交 {commit}，{date}。",
}
DATA: Final = {"en": "; data: {}", "zh": "；数据：{}"}
# Keys of the files and headings -> how pages name them
WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
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
        "returning": "back after an hour or more",
        "same session": "in the same session",
        "few ratings": "fewer than 50 ratings",
        "many ratings": "200 ratings or more",
    },
    "zh": {
        "list": "列表",
        "recall@200, back after a break": "recall@200，隔了一段时间回来",
        "recall@200, all users": "recall@200，全部用户",
        "NDCG@50, all users": "NDCG@50，全部用户",
        "the most liked films": "热门榜",
        "FM and DeepFM, as in the source": "FM 和 DeepFM，与原项目相同",
        "EASE, untuned": "EASE（未调优）",
        "the best fusion of tuned rivals": "调优过的对手的最佳融合",
        "recipe `default`": "配方 `default`",
    },
}


# --- The first page, in both languages

_EVALUATED: Final = (
    "{/slices/*/returning/recall@200/mean|.3f}",
    "{recall@200/mean|.3f}",
    "{ndcg@50/mean|.3f}",
)
_TUNED: Final = ("{returning: recall@200|.3f}", "{recall@200|.3f}", "{ndcg@50|.3f}")
_HEADLINE: Final = (  # name, file, its rows, the row, cells
    ("the most liked films", "evaluation.json", "systems", "popularity", _EVALUATED),
    (
        "FM and DeepFM, as in the source",
        "evaluation.json",
        "systems",
        "source: ranked",
        _EVALUATED,
    ),
    ("EASE, untuned", "evaluation.json", "systems", "EASE", _EVALUATED),
    (
        "the best fusion of tuned rivals",
        "rivals.json",
        "rows",
        "the best fusion of them",
        _TUNED,
    ),
    ("recipe `default`", "evaluation.json", "systems", "default: ranked", _EVALUATED),
)


_RETURNING: Final = "protocols/in session/as of now/all"
_ONE_MOMENT: Final = "protocols/one moment/as of now/all"
_ALL: Final = "systems/default: ranked"
SENTENCES: Final[Mapping[str, Mapping[str, str]]] = {
    "demo": {
        "en": "{first/all} seconds on an empty machine, {again/all} when it runs again. {measured}",
        "zh": "空机器上 {first/all} 秒，再次运行 {again/all} 秒。{measured}",
    },
    "speed": {
        "en": "{levels/1/requests_per_s|.0f} requests/s on two cores with four in flight (p50 {levels/1/p50_ms|.0f} ms)"
        "; the source's own stack, on another two-core machine: {source.json/serving/1/requests_per_s} requests/s "
        "(p50 {source.json/serving/1/p50_ms} ms). {measured}",
        "zh": "{levels/1/requests_per_s|.0f} 次请求/秒（双核，四个并行，p50 {levels/1/p50_ms|.0f} ms）；"
        "原项目自己的系统，在另一台双核的机器上：{source.json/serving/1/requests_per_s} 次请求/秒"
        "（p50 {source.json/serving/1/p50_ms} ms）。{measured}",
    },
    "headline": {
        "en": f"Of what {{{_RETURNING}/users|,}} users who come back after an hour like next, "
        f"**{{{_RETURNING}/ranked/recall@50|.0%}}** is among the 50 films and "
        f"**{{{_RETURNING}/ranked/recall@200|.0%}}** among 200; of all {{users|,}}, with their `timestamp`, "
        f"**{{{_ALL}/recall@50/mean|.0%}}** and **{{{_ALL}/recall@200/mean|.0%}}**.\n",
        "zh": f"隔一小时以上回来的 {{{_RETURNING}/users|,}} 位用户，接下来喜欢的有 "
        f"**{{{_RETURNING}/ranked/recall@50|.0%}}** 在一次普通请求的 50 部之内，"
        f"**{{{_RETURNING}/ranked/recall@200|.0%}}** 在 200 部之内；全部 {{users|,}} 位用户"
        f"带请求时间（`timestamp`）时为 **{{{_ALL}/recall@50/mean|.0%}}** 和 **{{{_ALL}/recall@200/mean|.0%}}**。\n",
    },
    "split": {
        "en": f"At the request's time. Split at one moment for all ({{{_ONE_MOMENT}/users|,}} "
        f"users): recall@200 {{{_ONE_MOMENT}/ranked/recall@200|.3f}}, NDCG@50 {{{_ONE_MOMENT}/ranked/ndcg@50|.3f}}.",
        "zh": f"各列都带请求时间。所有人在同一时刻切分（{{{_ONE_MOMENT}/users|,}} 位）："
        f"recall@200 {{{_ONE_MOMENT}/ranked/recall@200|.3f}}，NDCG@50 {{{_ONE_MOMENT}/ranked/ndcg@50|.3f}}。",
    },
}


def demo_time(language: str = "en") -> None:
    """Print the seconds of `make demo`."""
    say("demo.json", SENTENCES["demo"][language], language=language)


def speed(language: str = "en") -> None:
    """Print requests per second at four in flight, and those of the source's own stack."""
    say("serving.json", SENTENCES["speed"][language], language=language)


def headline(language: str = "en") -> None:
    """Print five recommenders: for users who come back, and for all at the request's time."""
    say("evaluation.json", SENTENCES["headline"][language], language=language)
    heads = (
        "list",
        "recall@200, back after a break",
        "recall@200, all users",
        "NDCG@50, all users",
    )
    head(heads, language)
    for name, file, rows, key, cells in _HEADLINE:
        shown = WORDS[language].get(name, name)
        lines(file, rows, [shown, *cells], only=[key], language=language)
    note("evaluation.json", SENTENCES["split"][language], language=language)
