"""The functions that run in Redis (functions.lua): loaded where they are missing, called by many at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import redis

_SOURCE: Final = Path(__file__).with_name("functions.lua").read_text(encoding="utf-8")
_DIGEST: Final = hashlib.sha256(_SOURCE.encode()).hexdigest()[:12]
_LIBRARY: Final = f"#!lua name=recsys_{_DIGEST}\n{_SOURCE.replace('DIGEST', _DIGEST)}"
RECORD: Final = f"recsys_record_{_DIGEST}"
COMPACT: Final = f"recsys_compact_{_DIGEST}"
FORGET: Final = f"recsys_forget_{_DIGEST}"
EXPOSE: Final = f"recsys_expose_{_DIGEST}"


def run(client: redis.Redis, pipeline: redis.client.Pipeline) -> Iterable[Any]:
    """Results, after the functions were loaded, where Redis did not have them. Raises what a command raises."""
    commands = list(pipeline.command_stack)
    results = pipeline.execute(raise_on_error=False)
    if any("Function not found" in str(each) for each in results if isinstance(each, redis.ResponseError)):
        client.function_load(_LIBRARY, replace=True)
        pipeline.command_stack = commands
        results = pipeline.execute(raise_on_error=False)
    for each in results:
        if isinstance(each, Exception):
            raise each
    return results
