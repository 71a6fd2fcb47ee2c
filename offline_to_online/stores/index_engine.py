"""What writes a release's documents into Elasticsearch: the step itself, or a plugin that RECSYS_ENGINE names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from elasticsearch import Elasticsearch

from data_exchange_center import plugins
from data_exchange_center.settings import IN_MEMORY, Settings
from offline_to_online.rows import ItemRow
from offline_to_online.stores.elasticsearch import put_documents

Put = Callable[[Elasticsearch, str, Sequence[ItemRow]], None]


def chosen(settings: Settings) -> Put:
    """The engine that the settings name. Raises PluginError where there is none of that name."""
    if settings.engine == IN_MEMORY:
        return put_documents
    return partial(plugins.load("recsys.index", settings.engine), settings)
