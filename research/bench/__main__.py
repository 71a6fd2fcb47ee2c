"""Benchmark the server: requests per second, p50, p99 and the median of each stage, at several concurrencies.

The load comes from a process of its own, over kept-alive connections, for real users drawn at random, a different one
for each request (the server caches no answer). They are as anybody sends them, at once after each answer: what is
answered, degraded and refused is counted. The server and the four services have to be up.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet (who the users are); the server, over HTTP
Writes  pic/figures/serving.json
Run     make bench, or python -m research.bench [--requests 1000] [--levels 1 4 16 64] [--url ...] [--output ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from data_exchange_center import steps
from data_exchange_center.figures import FIGURES
from data_exchange_center.files import write_json
from data_exchange_center.settings import Settings
from research.bench.asking import facts, parse_load, reaching, ready
from research.bench.levels import table

OUTPUT = FIGURES / "serving.json"


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m research.bench", description="How fast the server answers.")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments, asking = parse_load(settings, parser)
    with reaching(asking.url):
        server = ready(asking.url)
        levels = asking.measure()
    Console().print(table(levels))
    about = {"command": "make bench", "recipe": server["recipe"], "release": server["release"]}
    measured = {"levels": [vars(level) for level in levels]}
    write_json(arguments.output, {**about, **facts(settings, server["services"]), **measured})


if __name__ == "__main__":
    steps.run(main)
