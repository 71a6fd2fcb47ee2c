"""The tables of events: what it is worth that the next answer knows the last one."""

from __future__ import annotations

from collections.abc import Callable

from research.figures.tables import Figure, Words, measured, span, table

REPLAYED = (
    "{users} users, {events} liked events, one after the other; means over users. Strangers: recall@50 of what a user "
    "liked in the held-out part, by how many of the events before it the server was told ({strangers} users)."
)
SPEED = (
    "From an event's acknowledgement to an answer that knows it, beside {rate} requests/s: p50 {p50} ms, p99 {p99} ms "
    "({events} events). In batches of {batch}: {per_s} events/s ({sent} events)."
)
CHINESE = {
    "the server is told of an event": "服务器得知事件", "told at once": "立刻", "told 1 event late": "晚 1 个事件",
    "told 5 events late": "晚 5 个事件", "never told": "从不", "events of a stranger": "陌生人的事件数",
    REPLAYED:
        "{users} 个用户、{events} 个喜欢的事件，逐个回放；按用户平均。陌生人：服务器得知留出部分之前的若干事件后，"
        "对该用户留出部分里喜欢的电影的 recall@50（{strangers} 个用户）。",
    SPEED:
        "从事件被确认到知道它的回答，同时每秒 {rate} 个请求：p50 {p50} 毫秒，p99 {p99} 毫秒（{events} 个事件）。"
        "每批 {batch} 个：每秒 {per_s} 个事件（{sent} 个事件）。",
}  # fmt: skip


def speed(figure: Figure, word: Words) -> str:
    """How soon an answer knows an event, and how many are taken."""
    changed, batches = figure["changed answer"], figure["batches"]
    said = word(SPEED).format(
        rate=f"{changed['requests_per_s']:g}",
        p50=changed["p50_ms"],
        p99=changed["p99_ms"],
        events=changed["events"],
        batch=batches["batch"],
        per_s=f"{batches['events_per_s']:,}",
        sent=f"{batches['events']:,}",
    )
    return f"{said} {measured(figure, word)}"


def live_events(figure: Figure, word: Words) -> str:
    """The replay, variant by variant; strangers by number of events."""
    metrics = ("hit@10", "hit@50", "ndcg@50")
    rows = [(word(name), *(span(found[metric]) for metric in metrics)) for name, found in figure["replay"].items()]
    replay = table((word("the server is told of an event"), "HR@10", "HR@50", "NDCG@50"), rows)
    strangers = figure["strangers"]
    values = [span(found) for found in strangers.values()]
    by_number = table((word("events of a stranger"), *strangers), [("recall@50", *values)])
    said = word(REPLAYED).format(
        users=f"{figure['users']:,}",
        events=f"{figure['replay']['told at once']['events']:,}",
        strangers=f"{next(iter(strangers.values()))['users']:,}",
    )
    return f"{replay}\n\n{by_number}\n\n{said} {measured(figure, word)}"


BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    "event_speed": ("events.json", speed),
    "live_events": ("evaluation_live_events.json", live_events),
}
