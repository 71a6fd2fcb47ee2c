"""The node of the image that is built here, configured by the environment as Elasticsearch's own image is.

Variables with a dot in their name are settings of the node (``cluster.name=recsys``); ES_JAVA_OPTS are Java's options.
Reads   /jars, and the data that is mounted at /usr/share/elasticsearch/data
Run     python -m online.stack.elasticsearch.container
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from online.stack.elasticsearch.node import lay_out, node_settings, run, start_java
from online.stack.elasticsearch.service import HEAP

LIBRARY: Final = Path("/jars")
HOME: Final = Path("/usr/share/elasticsearch")
SECURITY: Final = "xpack.security.enabled"


def settings_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The node's settings. Raises SystemExit for what needs Elasticsearch's own image."""
    if environment.get(SECURITY, "false") != "false":
        sys.exit(f"{SECURITY} is {environment[SECURITY]!r}, but this image has no X-Pack: use the official image.")
    given = {name: value for name, value in environment.items() if "." in name and not name.startswith("xpack.")}
    return {**node_settings(HOME, 9200, 9300), "network.host": "0.0.0.0", **given}  # noqa: S104 (its own network)


def main() -> None:
    """Run a node until SIGTERM or SIGINT."""
    values = settings_of(os.environ)
    lay_out(LIBRARY, HOME)
    start_java(LIBRARY, shlex.split(os.environ.get("ES_JAVA_OPTS", f"-Xms{HEAP} -Xmx{HEAP}")))
    run(HOME, values)


if __name__ == "__main__":
    main()
