"""Elasticsearch on this machine as three nodes, each of which may be master and holds data.

Run     python -m past_one_machine.clusters.elasticsearch, as the supervisor does (`make up` with
        RECSYS_ELASTICSEARCH__CLUSTER=true)
"""

from __future__ import annotations

from data_exchange_center.settings import ELASTICSEARCH_NODES, Settings, load_settings
from online.stack.elasticsearch.service import home, node_command
from past_one_machine.clusters.several import keep_running


def commands(settings: Settings) -> dict[str, tuple[str, ...]]:
    """By name; each node is told where all are."""
    place = settings.elasticsearch
    all_nodes = ",".join(str(place.transport_port + n) for n in range(ELASTICSEARCH_NODES))
    return {
        f"node-{n + 1}": (
            *node_command(settings, home(settings) / f"node-{n + 1}", place.port + n, place.transport_port + n),
            *("--name", f"node-{n + 1}"),
            *("--cluster", all_nodes),
        )
        for n in range(ELASTICSEARCH_NODES)
    }


def main() -> None:
    keep_running(commands(load_settings()))


if __name__ == "__main__":
    main()
