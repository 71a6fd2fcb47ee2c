"""Tables of time and memory: the demo, the steps, a request, an event, a container, more data."""

from __future__ import annotations

import json

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
