"""Elasticsearch on this machine as three nodes, each of which may be master and holds data.

Run     python -m past_one_machine.clusters.elasticsearch, as the supervisor does (`make up` with
        RECSYS_ELASTICSEARCH__CLUSTER=true)
"""

from __future__ import annotations

from data_exchange_center.settings import ELASTICSEARCH_NODES, Settings, load_settings
from online.stack.elasticsearch.service import node_command
from online.stack.service import LOOPBACK
from past_one_machine.clusters.several import keep_running


def commands(settings: Settings) -> dict[str, tuple[str, ...]]:
    """By name; each node is told where all are."""
    place, home = settings.elasticsearch, settings.service_dir("elasticsearch")
    names = [f"node-{n + 1}" for n in range(ELASTICSEARCH_NODES)]
    hosts = [f"{LOOPBACK}:{place.transport_port + n}" for n in range(ELASTICSEARCH_NODES)]
    cluster = f"discovery.seed_hosts={','.join(hosts)}", f"cluster.initial_master_nodes={','.join(names)}"
    return {
        name: node_command(
            settings, home / name, place.port + n, place.transport_port + n, f"node.name={name}", *cluster
        )
        for n, name in enumerate(names)
    }


def main() -> None:
    keep_running(commands(load_settings()))


if __name__ == "__main__":
    main()
