"""One line a request: id, user, release, outcome and the milliseconds of each stage."""

from __future__ import annotations

import logging

from flask import request

from online.web.records import Record

log = logging.getLogger("online.access")
_PATH = 100  # characters of a path that are kept


def log_request(record: Record) -> None:
    """A line with the facts as fields of their own. The query string is left out: a key may have been put there."""
    if not log.isEnabledFor(logging.INFO):
        return
    facts = {
        "method": request.method,
        "path": request.path[:_PATH],
        "status": record.status,
        "ms": round(record.seconds * 1e3, 1),
        **({"outcome": record.outcome} if record.outcome else {}),
        **record.facts,
        **{f"{name}_ms": round(stage.seconds * 1e3, 1) for name, stage in record.watch.stages.items()},
    }
    log.info("request", extra={"facts": facts})
