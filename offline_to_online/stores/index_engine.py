"""What writes a release's documents into Elasticsearch, chosen by RECSYS_ENGINE: `KINDS` is all there is to know of it.

With pandas it is the step itself. With Spark executors read the artifacts and send documents of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from elasticsearch import Elasticsearch

from data_exchange_center.settings import Settings
from offline.engines.spark import environment
from offline_to_online.rows import ItemRow
from offline_to_online.stores.elasticsearch import put_documents

Put = Callable[[Elasticsearch, str, Sequence[ItemRow]], None]


def _by_itself(_: Settings, client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> None:
    put_documents(client, release, rows)


def _by_spark(settings: Settings, _: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> None:
    """Which knows nothing of the rows: it makes them of the same files."""
    failed = f"Spark did not load the {len(rows)} items into Elasticsearch"
    environment.run_job(settings, "offline_to_online.stores.index_job_on_spark", [release], failed)


KINDS: Final = {"pandas": _by_itself, "spark": _by_spark}


def chosen(settings: Settings) -> Put:
    """The engine that the settings name."""
    return partial(KINDS[settings.engine], settings)
