from __future__ import annotations

from pathlib import Path

import certifi
import pytest
from elasticsearch import Elasticsearch

from data_exchange_center.settings import ElasticsearchSettings, Settings
from offline_to_online.load.services import elastic_client
from online.clients.elastic import ElasticItems


def of_the_server(settings: ElasticsearchSettings) -> Elasticsearch:
    return ElasticItems(settings)._es


def of_the_steps(settings: ElasticsearchSettings) -> Elasticsearch:
    return elastic_client(Settings(elasticsearch=settings))


@pytest.mark.parametrize("client", [of_the_server, of_the_steps])
@pytest.mark.parametrize("ca_certs", [None, Path(certifi.where())])
def test_it_speaks_https_with_the_given_authority(client: object, ca_certs: Path | None) -> None:
    assert callable(client)
    settings = ElasticsearchSettings(host="search.example", scheme="https", ca_certs=ca_certs)
    config = client(settings).transport.node_pool.get().config
    assert (config.scheme, config.host, config.verify_certs) == ("https", "search.example", True)
    assert config.ca_certs == (str(ca_certs) if ca_certs else None)


@pytest.mark.parametrize("client", [of_the_server, of_the_steps])
def test_it_speaks_http_unless_told_otherwise(client: object) -> None:
    assert callable(client)
    config = client(ElasticsearchSettings()).transport.node_pool.get().config
    assert (config.scheme, config.host, config.port) == ("http", "127.0.0.1", 9200)
