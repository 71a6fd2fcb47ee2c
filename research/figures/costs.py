"""Tables of time and memory: the demo, the steps, a request, an event, a container, more data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from past_one_machine.synthesis import rows_of
from research.figures.tables import IN_BRACKETS, Figure, block, measured, read, shown, table, with_range


@block("demo", "demo.json")
def demo(figure: Figure) -> str:
    """Seconds of each part of `make demo`, the first time and again."""
    rows = [(part, figure["first"].get(part), again) for part, again in figure["again"].items()]
    return shown(figure, ("part", "empty machine, seconds", "again, seconds"), rows)


@block("demo_time", "demo.json")
def demo_time(figure: Figure) -> str:
    """Seconds of `make demo` in a sentence."""
    first, again = figure["first"]["all"], figure["again"]["all"]
    parts = ", ".join(f"{part} {seconds}" for part, seconds in figure["first"].items() if part != "all")
    return f"{first} seconds on an empty machine ({parts}), {again} when it runs again. {measured(figure)}"


block("demo_time_baskets", "demo_ta-feng.json")(demo_time)


@block("printed", "demo_output.json")
def printed(figure: Figure) -> str:
    """Output of `make demo`, cut short."""
    return "```text\n" + "\n".join(figure["printed"]) + f"\n```\n\n{measured(figure)}"


@block("sync", "demo.json")
def sync(figure: Figure) -> str:
    """Seconds of each sync step, as `make demo` ran it."""
    return shown(figure, ("step", "seconds"), figure["sync_steps"].items())


@block("containers", "containers.json")
def containers(figure: Figure) -> str:
    """Each container's image, the part of it that others share, its start and its memory."""
    head = ("container", "image MB", "of them shared", "seconds to healthy", "memory MB")
    keys = ("size_mb", "shared_mb", "seconds_to_healthy", "memory_mb")
    rows = [(f"`{row['service']}`", *(row[key] for key in keys)) for row in figure["containers"]]
    return shown(figure, head, rows)


@block("offline", "offline_bench.json")
def offline(figure: Figure) -> str:
    """Seconds, share of the cores and memory of every offline step, and the source's seconds."""
    head = ("step", "from second", "seconds", "of the cores", "peak MB", "source's seconds")
    rows = [_step_row(f"`{step['step']}`", step) for step in figure["steps"]]
    rows += [
        _step_row("channels, lists and ranker", {"seconds": figure.get("training_seconds")}),
        _step_row("all", figure),
    ]
    return shown(figure, head, rows)


def _step_row(name: str, took: Figure) -> Sequence[object]:
    share = f"{took['share']:.0%}" if "share" in took else None
    memory = took.get("peak_rss_mb", took.get("peak_mb"))
    return (name, took.get("began"), took["seconds"], share, memory, took.get("source_seconds"))


@block("layouts", "layouts.json")
def layouts(figure: Figure) -> str:
    """All offline steps on archives in the layouts of newer editions of MovieLens."""
    head = ("layout", "ratings", "users", "films", "archive MB", "seconds", "processor seconds", "peak MB")
    rows = [
        (
            f"`{row['edition']}.zip`",
            *(f"{row[name]:,}" for name in ("ratings", "users", "items")),
            *(f"{row[name]:,}" for name in ("archive_mb", "seconds", "cpu_seconds", "peak_mb")),
        )
        for row in figure["layouts"].values()
    ]
    about = f"Made of `{figure['source']}` or expansions of it; peak memory of all processes together."
    return shown(figure, head, rows, about)


@block("index", "vector_index.json")
def index(figure: Figure) -> str:
    """Share of the exact candidates that a graph of vectors finds, and milliseconds of a search."""
    head = ("channel", "index", "shards", "num_candidates", "found of the exact", "worst user", "p50 ms", "p99 ms")
    rows = [
        (
            *(f"`{row['channel']}`", row["index"], row["shards"], row["num_candidates"]),
            *(f"{row[key]:.1%}" for key in ("found", "found by the worst served")),
            *(row["p50_ms"], row["p99_ms"]),
        )
        for row in figure["rows"]
    ]
    return shown(figure, head, rows)


@block("synthesis", "synthesis.json")
def synthesis(figure: Figure) -> str:
    """Structure of expansions and of their source: a column for each."""
    head = ("expanded", *("the source" if name == "source" else name for name in figure["rows"]))
    return shown(figure, head, rows_of(figure["rows"]))


@block("answer", "demo.json")
def answer(figure: Figure) -> str:
    """A real answer, its list cut short."""
    shown = dict(figure["answer"])
    items = shown.pop("item_list")
    took = shown.pop("took_ms")
    lines = [json.dumps(shown, ensure_ascii=False)[:-1] + ","]
    lines += [' "item_list": [' + json.dumps(items[0], ensure_ascii=False) + ","]
    lines += ["  " + json.dumps(items[1], ensure_ascii=False) + ", …],"]
    lines += [' "took_ms": ' + json.dumps(took) + "}"]
    return "```\n" + "\n".join(lines) + "\n```"


SOURCE = "source.json"
WATERFALL_PICTURE = "One request stage by stage; what each stage waits and what each process costs, by load"
SHED_PICTURE = "Goodput, what is turned away, and the latency of accepted requests, by load"
COUNTS = ("answered", "degraded", "refused")


@block("serving", "serving.json")
def serving(figure: Figure) -> str:
    """Requests per second and latency by concurrency, and the source's."""
    head = ("concurrency", *COUNTS, "requests/s", "p50 ms", "p99 ms", "source's requests/s", "source's p50 ms")
    source = {level["concurrency"]: level for level in read(SOURCE)["serving"]}
    rows = [
        (
            *(level.get(key) for key in ("concurrency", *COUNTS)),
            *(with_range(level[key], level["turns"][key]) for key in ("requests_per_s", "p50_ms", "p99_ms")),
            *(source.get(level["concurrency"], {}).get(key) for key in ("requests_per_s", "p50_ms")),
        )
        for level in figure["levels"]
    ]
    return shown(figure, head, rows, IN_BRACKETS)


@block("speed", "serving.json")
def speed_beside_source(figure: Figure) -> str:
    """Requests per second at four in flight, and those of the source's own stack, in a sentence."""
    level, source = (
        next(each for each in found["levels" if found is figure else "serving"] if each["concurrency"] == 4)
        for found in (figure, read(SOURCE))
    )
    return (
        f"{level['requests_per_s']:.0f} requests/s on two cores with four in flight (p50 {level['p50_ms']:.0f} ms); "
        f"the source's own stack, on another two-core machine: {source['requests_per_s']} requests/s "
        f"(p50 {source['p50_ms']} ms). {measured(figure)}"
    )


@block("against", "serving_against.json")
def against(figure: Figure) -> str:
    """This checkout against another commit, level by level; then where a request's time went, and goes."""
    keys = ("requests_per_s", "p50_ms", "p99_ms")
    times = ("requests/s, times", "p50, times", "p99, times", "processor time, times")
    head = ("level", *COUNTS, "other refused", "requests/s", "p50 ms", "p99 ms", *times)
    rows = []
    for level in figure["levels"]:
        of, before = level["this"], level["other"]
        found = (*(of.get(key) for key in COUNTS), before.get("refused"), *(of[key] for key in keys))
        ratio = level["ratio"]
        ratios = (with_range(ratio[key], ratio["turns"][key]) for key in (*keys, "processor_ms"))
        rows.append((level["level"], *found, *ratios))
    by_level = table(head, rows)
    same = figure.get("same_services")
    said = "Both servers used the same services."
    if not same:
        warm = f"the other's Elasticsearch had answered {figure['other_searches']:,} searches by the end"
        said = f"Each server had services of its own; {warm}."
    return f"{by_level}\n\n{_before_and_now(figure)}\n\n{IN_BRACKETS} {said} {measured(figure)}"


def _before_and_now(figure: Figure) -> str:
    """Wall and processor time of each part for a request, at the first two levels."""
    head, columns = (["part"], [])
    for level in figure["levels"][:2]:
        for key, name in (("stage_p50_ms", "wall ms"), ("processor_ms", "processor ms")):
            for side, when in (("other", "before"), ("this", "now")):
                head.append(f"{level['level']}: {name}, {when}")
                columns.append(level[side][key])
    parts = ("redis", "elasticsearch", "feast", "triton", "server")
    rows = [(part, *(column.get(part) for column in columns)) for part in parts]
    rows.append(("all", *(column.get("total", column.get("all")) for column in columns)))
    return table(head, rows)


@block("waterfall", "waterfall.json")
def waterfall(figure: Figure) -> str:
    """Time of each stage alone, its waiting under load, and processor time of its client and its service."""
    levels = figure["levels"]
    alone, clients = (levels[0], figure["server_ms"])
    waits = [f"waits, {level['in_flight']} in flight" for level in levels[1:]]
    costs = ("bare call, ms", "of the client", "of the service")
    head = ("stage", "wall ms", *waits, *costs)
    rows = [
        (
            *(stage, alone["wall_ms"][stage], *(level["waiting_ms"][stage] for level in levels[1:])),
            *(figure["bare_ms"].get(stage), clients[stage], alone["processor_ms"].get(stage)),
        )
        for stage in ("redis", "elasticsearch", "feast", "triton", "own", "http")
    ]
    shares = ", ".join(f"{lv['own_share_of_processor']:.0%} with {lv['in_flight']} in flight" for lv in levels)
    over_chain = with_range(figure["p50_over_chain"], figure["p50_over_chain_turns"])
    note = (
        f"A single request takes {over_chain} times its slowest chain of bare calls "
        f"({figure['bare_ms']['chain']} ms). Our own server's share of the processor time: {shares}."
    )
    return f"![{WATERFALL_PICTURE}](pic/waterfall.png)\n\n{shown(figure, head, rows, note)}"


@block("shed", "shed.json")
def shed(figure: Figure) -> str:
    """Results of requests beyond the best rate."""
    head = ("load", "goodput", "refused", "degraded", "p50 ms", "p99 ms")
    rows = [
        (
            f"{p['factor']:g}",
            with_range(p["goodput"], p["turns"]["goodput"]),
            *(f"{p[key]:.0%}" for key in ("shed", "degraded")),
            *(p["p50_ms"], with_range(p["p99_ms"], p["turns"]["p99_ms"])),
        )
        for p in figure["points"]
    ]
    best = with_range(figure["best"]["requests_per_s"], figure["best"]["turns"])
    at_least, at_most = figure["goodput_at_least"], figure["p99_ms_at_most"]
    note = (
        f"Best rate: {best} requests/s; loads are times that, goodput a share of it. {IN_BRACKETS} "
        f"Up to load {figure['judged']:g} goodput should be at least {at_least:g} * min(load, 1) and p99 at most "
        f"{at_most:g} ms: {'reached' if figure['holds'] else 'missed'}."
    )
    return f"![{SHED_PICTURE}](pic/shed.png)\n\n{shown(figure, head, rows, note)}"


@block("soak", "soak.json")
def soak(figure: Figure) -> str:
    """Memory, threads and open files of each process over a long run."""
    head = ("process", "MB after the warm-up", "MB at the end", "threads at most", "open files at most")
    keys = ("rss_mb", "rss_mb_at_end", "threads_at_most", "open_files_at_most")
    rows = [(each["process"], *(each[key] for key in keys)) for each in figure["processes"]]
    note = (
        f"{figure['minutes']:g} minutes at {figure['requests_per_s']:g} requests/s, {figure['switches']} release "
        f"switches: {figure['requests']:,} requests, {sum(figure['errors'].values())} errors, {figure['degraded']} "
        f"degraded, p99 {with_range(figure['p99_ms'], figure['turns']['p99_ms'])} ms, in brackets that of the requests "
        "between two switches."
    )
    return shown(figure, head, rows, note)


@block("scale", "scale.json")
def scale(figure: Figure) -> str:
    """Seconds and peak memory of each step and engine at each size, and how they grow."""
    factors = sorted({row["factor"] for row in figure["rows"]})
    events = {row["factor"]: row["events"] for row in figure["rows"]}
    head = ["step", "engine", *(f"{events[factor]:,} events" for factor in factors)]
    rows = [_step(figure, each, factors) for each in figure["lines"]]
    note = (
        "Seconds / peak MB of all of a step's processes; s and MB for each million more events are the slope of a "
        "line, off by at most the share behind it."
    )
    more = ("s / million more", "MB / million more", "shuffled MB / million")
    steps = shown(figure, [*head, *more], rows, note)
    if not figure["catalogue"]:
        return steps
    trained = {row["step"]: row for row in figure["rows"] if row["factor"] == 1}
    pairs = [(trained[row["step"]], row) for row in figure["catalogue"]]
    columns = [f"{row['items']:,} items" for row in pairs[0]]
    by_items = [
        (f"`{one['step']}`", *(f"{row['cpu_seconds']:.1f} / {row['peak_mb']:.0f}" for row in (one, many)))
        for one, many in pairs
    ]
    same = "In the same run, processor seconds / peak MB with the same events on a larger catalogue:"
    return f"{steps}\n\n{same}\n\n{table(('step', *columns), by_items)}"


def _step(figure: Figure, line: Figure, factors: Sequence[int]) -> Sequence[object]:
    rows = {
        row["factor"]: row for row in figure["rows"] if (row["engine"], row["step"]) == (line["engine"], line["step"])
    }
    cells = (f"{rows[each]['seconds']:.1f} / {rows[each]['peak_mb']:.0f}" if each in rows else None for each in factors)
    several = len(rows) > 1
    seconds, memory = (
        f"{line[name]['each'] * 1000000.0:.2f} (±{line[name]['off']:.0%})" if several else None
        for name in ("seconds", "peak_mb")
    )
    shuffled = f"{line['written']['each'] * 1000000.0 / 2**20:.2f}" if several and "written" in line else None
    return (f"`{line['step']}`", line["engine"], *cells, seconds, memory, shuffled)


@block("index_growth", "index_growth.json")
def index_growth(figure: Figure) -> str:
    """Recall and costs of a vector search as the catalogue grows."""
    head = ("items", "index", "channel", "num_candidates", "found of the exact", "worst user", "p50 ms", "p99 ms")
    more = ("seconds to load", "bytes an item")
    keys = ("index", "channel", "num_candidates", "found", "found by the worst served", "p50_ms", "p99_ms")
    rows = [
        (f"{row['items']:,}", *(row[key] for key in keys), row["loaded_s"], row["bytes_an_item"])
        for row in figure["rows"]
    ]
    both = zip(quickest(figure["rows"]), quickest(figure["rows"], "flat"), strict=True)
    by_size = [
        (
            f"{best.items:,}",
            f"{flat.ms:.1f}",
            best.kind,
            best.num_candidates,
            f"{best.ms:.1f}",
            f"{best.ms / flat.ms:.2f}",
        )
        for best, flat in both
    ]
    return f"{table(_QUICKEST, by_size)}\n\n{shown(figure, (*head, *more), rows)}"


FOUND: Final = 0.98  # of the exact candidates, in each channel
_QUICKEST: Final = (
    *("items", "flat: ms of all channels"),
    *(f"quickest that finds {FOUND}: index", "num_candidates", "ms", "of flat"),
)


class Search(NamedTuple):
    """An index, one for all channels, and what searching a catalogue of so many items takes."""

    ms: float  # the sum of the channels' medians
    kind: str
    num_candidates: int
    items: int
    bytes_an_item: float


def quickest(rows: Sequence[Figure], only: str = "") -> list[Search]:
    """The quickest index for each size that finds enough in each channel. ``only``: consider this index alone."""
    channels = {row["channel"] for row in rows}
    by_index: dict[tuple[int, str, int], list[Figure]] = {}
    for row in rows:
        if row["found"] >= FOUND and only in ("", row["index"]):
            by_index.setdefault((row["items"], row["index"], row["num_candidates"]), []).append(row)
    found: dict[int, Search] = {}
    for (items, index, breadth), each in by_index.items():
        if {row["channel"] for row in each} == channels:
            search = Search(sum(row["p50_ms"] for row in each), index, breadth, items, each[0]["bytes_an_item"])
            found[items] = min(search, found.get(items, search))
    return [found[items] for items in sorted(found)]
