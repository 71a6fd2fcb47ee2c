"""The functions that run in Redis (functions.lua): loaded where they are missing, called by many at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from online.clients.redis import Connected

_SOURCE: Final = Path(__file__).with_name("functions.lua").read_text(encoding="utf-8")
_DIGEST: Final = hashlib.sha256(_SOURCE.encode()).hexdigest()[:12]
_LIBRARY: Final = f"#!lua name=recsys_{_DIGEST}\n{_SOURCE.replace('DIGEST', _DIGEST)}"
RECORD: Final = f"recsys_record_{_DIGEST}"
COMPACT: Final = f"recsys_compact_{_DIGEST}"
FORGET: Final = f"recsys_forget_{_DIGEST}"
EXPOSE: Final = f"recsys_expose_{_DIGEST}"


@dataclass(frozen=True, slots=True)
class Call:
    """Of a function: its keys are of one slot, so in a cluster one server can run it."""

    function: str
    keys: tuple[str, ...]
    arguments: tuple[Any, ...]


class TooFewReplicasError(redis.RedisError):
    """What was written is not on as many replicas as must have it, so it is not acknowledged."""


def run(client: Connected, calls: Sequence[Call], replicas: int = 0, timeout_s: float = 1.0) -> list[Any]:
    """Results, in one round trip to each server that has any of the keys. Raises what a call raises.

    ``replicas``: how many must have received it within ``timeout_s``, beside the server that wrote it: else
    TooFewReplicasError. The functions are loaded where they are missing.
    """
    groups: dict[str, list[int]] = {}
    for place, call in enumerate(calls):
        groups.setdefault(client.server_of(call.keys[0]), []).append(place)
    results: list[Any] = [None] * len(calls)
    for places in groups.values():
        with client.at(calls[places[0]].keys[0]) as server:
            answers = _run(server, [calls[place] for place in places], replicas, timeout_s)
        for place, answer in zip(places, answers, strict=True):
            results[place] = answer
    return results


def _run(server: redis.Redis, calls: Sequence[Call], replicas: int, timeout_s: float) -> list[Any]:
    results = _send(server, calls, replicas, timeout_s)
    if any("Function not found" in str(each) for each in results if isinstance(each, redis.ResponseError)):
        server.function_load(_LIBRARY, replace=True)
        results = _send(server, calls, replicas, timeout_s)
    for each in results:
        if isinstance(each, Exception):
            raise each
    if replicas and (copied := results.pop()) < replicas:
        raise TooFewReplicasError(f"on {copied} replicas instead of {replicas} within {timeout_s:g} s")
    return results


def _send(server: redis.Redis, calls: Sequence[Call], replicas: int, timeout_s: float) -> list[Any]:
    pipeline = server.pipeline(transaction=False)
    for call in calls:
        pipeline.fcall(call.function, len(call.keys), *call.keys, *call.arguments)
    if replicas:  # of what this connection has written; the answer is awaited a little longer
        pipeline.execute_command("WAIT", replicas, max(1, int(timeout_s * 800)))  # type: ignore[no-untyped-call]
    return list(pipeline.execute(raise_on_error=False))
