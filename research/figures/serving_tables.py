"""The tables of the server's benchmarks."""

from __future__ import annotations

from collections.abc import Callable

from research.figures.tables import Figure, Words, measured, read, table

SOURCE = "source.json"  # the one file that no command writes: what was measured of the source, and how
SOAKED = (
    "{minutes} minutes at {rate} requests/s, {switches} release switches: {requests} requests, {errors} errors, "
    "{degraded} degraded, p99 {p99} ms."
)
SAME_SERVICES = "Both servers asked the same services."
OWN_SERVICES = "Each server had services of its own."
WATERFALL = "One request stage by stage; what each stage waits and what each process costs, by load"
SHED = "Goodput, what is turned away, and the latency of accepted requests, by load"
FIRST = "The first {requests} requests after each of {starts} starts, at {rate} a second."
CHINESE = {
    FIRST: "{starts} 次启动，每次启动后的前 {requests} 个请求，每秒 {rate} 个。",
    "warm-up": "热身", "server ready after s": "服务器就绪用时 秒",
    SAME_SERVICES: "两个服务器询问同一套服务。", OWN_SERVICES: "每个服务器有自己的一套服务。",
    WATERFALL: "一个请求的各个阶段；不同负载下每个阶段的等待和每个进程的开销",
    SHED: "不同负载下的有效吞吐、被拒绝的份额和被接受的请求的延迟",
    "concurrency": "并发", "requests/s": "请求/秒", "p50 ms": "p50 毫秒", "p99 ms": "p99 毫秒",
    "source's requests/s": "源项目 请求/秒", "source's p50 ms": "源项目 p50 毫秒",
    "in flight": "并发", "level": "负载", "requests/s, times": "请求/秒，倍数", "p50, times": "p50，倍数",
    "p99, times": "p99，倍数", "processor time, times": "处理器时间，倍数",
    "stage": "阶段", "of the client": "客户端", "of the service": "服务",
    "waits": "等待", "own": "自己的代码", "http": "HTTP", "all": "合计", "total": "合计",
    "bare call, ms": "裸调用，毫秒", "wall ms": "耗时 毫秒", "processor ms": "处理器 毫秒",
    "part": "部分", "before": "之前", "now": "现在",
    "A single request takes {ratio} times its slowest chain of bare calls ({chain} ms).":
        "单个请求用时是最慢的一串裸调用（{chain} 毫秒）的 {ratio} 倍。",
    "Our own server's share of the processor time: {shares}.": "服务器自己占处理器时间的份额：{shares}。",
    "{share} with {in_flight} in flight": "并发 {in_flight} 时 {share}",
    "load": "负载", "goodput": "有效吞吐", "turned away": "被拒绝", "degraded": "降级",
    "Best rate: {rate} requests/s; loads are times that, goodput a share of it.":
        "最高速率：每秒 {rate} 个请求；负载是它的倍数，有效吞吐是它的份额。",
    "process": "进程", "MB after the warm-up": "热身后 MB", "MB at the end": "结束时 MB", "threads at most": "线程最多",
    "open files at most": "打开的文件最多",
    SOAKED:
        "{minutes} 分钟，每秒 {rate} 个请求，切换发布 {switches} 次："
        "{requests} 个请求，{errors} 个错误，{degraded} 个降级，p99 {p99} 毫秒。",
}  # fmt: skip


def serving(figure: Figure, word: Words) -> str:
    """Requests per second and latency by concurrency, beside the source's."""
    head = ("concurrency", "requests/s", "p50 ms", "p99 ms", "source's requests/s", "source's p50 ms")
    source = {level["concurrency"]: level for level in read(SOURCE)["serving"]}
    rows = []
    for level in figure["levels"]:
        known = source.get(level["concurrency"], {})
        theirs = (known.get("requests_per_s"), known.get("p50_ms"))
        rows.append((level["concurrency"], level["requests_per_s"], level["p50_ms"], level["p99_ms"], *theirs))
    return f"{table([word(name) for name in head], rows)}\n\n{measured(figure, word)}"


def against(figure: Figure, word: Words) -> str:
    """This checkout beside another commit, level by level; then where a request's time went, and goes."""
    keys = ("requests_per_s", "p50_ms", "p99_ms")
    times = ("requests/s, times", "p50, times", "p99, times", "processor time, times")
    head = ("level", "requests/s", "p50 ms", "p99 ms", *times)
    rows = []
    for level in figure["levels"]:
        found = (level["this"][key] for key in keys)
        rows.append((level["level"], *found, *(level["ratio"][key] for key in (*keys, "processor_ms"))))
    by_level = table([word(name) for name in head], rows)
    said = word(SAME_SERVICES if figure.get("same_services") else OWN_SERVICES)
    return f"{by_level}\n\n{_before_and_now(figure, word)}\n\n{said} {measured(figure, word)}"


def _before_and_now(figure: Figure, word: Words) -> str:
    """Of each part, at the first two levels: what a request takes of it, and what it costs it."""
    head, columns = [word("part")], []
    for level in figure["levels"][:2]:
        for key, name in (("stage_p50_ms", "wall ms"), ("processor_ms", "processor ms")):
            for side, when in (("other", "before"), ("this", "now")):
                head.append(f"{level['level']}: {word(name)}, {word(when)}")
                columns.append(level[side][key])
    parts = ("redis", "elasticsearch", "feast", "triton", "server")
    rows = [(word(part), *(column.get(part) for column in columns)) for part in parts]
    rows.append((word("all"), *(column.get("total", column.get("all")) for column in columns)))
    return table(head, rows)


def waterfall(figure: Figure, word: Words) -> str:
    """Of each stage: how long it takes alone, what it waits under load, what it costs its client and its service."""
    levels = figure["levels"]
    alone, clients = levels[0], figure["server_ms"]
    waits = [f"{word('waits')}, {level['in_flight']} {word('in flight')}" for level in levels[1:]]
    costs = ("bare call, ms", "of the client", "of the service")
    head = (word("stage"), word("wall ms"), *waits, *map(word, costs))
    rows = []
    for stage in ("redis", "elasticsearch", "feast", "triton", "own", "http"):
        rows.append(
            (
                word(stage),
                alone["wall_ms"][stage],
                *(level["waiting_ms"][stage] for level in levels[1:]),
                figure["bare_ms"].get(stage),
                clients[stage],
                alone["processor_ms"].get(stage),
            )
        )
    named = word("{share} with {in_flight} in flight")
    shares = ", ".join(
        named.format(share=f"{lv['own_share_of_processor']:.0%}", in_flight=lv["in_flight"]) for lv in levels
    )
    ratio = word("A single request takes {ratio} times its slowest chain of bare calls ({chain} ms).")
    said = ratio.format(ratio=figure["p50_over_chain"], chain=figure["bare_ms"]["chain"])
    share = word("Our own server's share of the processor time: {shares}.").format(shares=shares)
    picture = f"![{word(WATERFALL)}](../../pic/waterfall.png)"
    return f"{picture}\n\n{table(head, rows)}\n\n{said} {share} {measured(figure, word)}"


def shed(figure: Figure, word: Words) -> str:
    """What becomes of requests beyond the best rate."""
    head = ("load", "goodput", "turned away", "degraded", "p50 ms", "p99 ms")
    rows = [
        (f"{p['factor']:g}", *(f"{p[key]:.0%}" for key in ("goodput", "shed", "degraded")), p["p50_ms"], p["p99_ms"])
        for p in figure["points"]
    ]
    best = word("Best rate: {rate} requests/s; loads are times that, goodput a share of it.")
    said = best.format(rate=figure["best"]["requests_per_s"])
    picture = f"![{word(SHED)}](../../pic/shed.png)"
    return f"{picture}\n\n{table([word(name) for name in head], rows)}\n\n{said} {measured(figure, word)}"


def soak(figure: Figure, word: Words) -> str:
    """Memory, threads and open files of each process over a long run."""
    head = ("process", "MB after the warm-up", "MB at the end", "threads at most", "open files at most")
    keys = ("rss_mb", "rss_mb_at_end", "threads_at_most", "open_files_at_most")
    rows = [(each["process"], *(each[key] for key in keys)) for each in figure["processes"]]
    said = word(SOAKED).format(
        minutes=f"{figure['minutes']:g}",
        rate=f"{figure['requests_per_s']:g}",
        switches=figure["switches"],
        requests=f"{figure['requests']:,}",
        errors=sum(figure["errors"].values()),
        degraded=figure["degraded"],
        p99=figure["p99_ms"],
    )
    return f"{table([word(name) for name in head], rows)}\n\n{said} {measured(figure, word)}"


def cold_start(figure: Figure, word: Words) -> str:
    """The first requests after Elasticsearch's start, without a warm-up and with it."""
    head = ("warm-up", "p50 ms", "p99 ms", "degraded", "server ready after s")
    rows = [
        (name, found["p50_ms"], found["p99_ms"], f"{found['degraded'] / found['requests']:.1%}", found["ready_s"])
        for name, found in figure["warm_up"].items()
    ]
    requests = next(iter(figure["warm_up"].values()))["requests"] // figure["rounds"]
    said = word(FIRST).format(requests=requests, starts=figure["rounds"], rate=f"{figure['requests_per_s']:g}")
    return f"{table([word(name) for name in head], rows)}\n\n{said} {measured(figure, word)}"


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    "serving": ("serving.json", serving),
    "against": ("serving_against.json", against),
    "waterfall": ("waterfall.json", waterfall),
    "shed": ("shed.json", shed),
    "soak": ("soak.json", soak),
    "cold_start": ("cold_start.json", cold_start),
}
