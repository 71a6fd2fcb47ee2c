"""Put the measured figures into the READMEs, between ``<!-- figures: name -->`` and ``<!-- /figures -->``.

Every figure of the READMEs stands in ``pic/figures``, in a file that a command of this repository wrote; those of the
source, in ``source.json``, were measured once with its own code.

Reads   pic/figures/*.json
Writes  README.md and README.zh-CN.md, of the root and of each room
Run     make readme        (python research/figures/readme.py --check: only say whether they are up to date)
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from data_exchange_center.figures import FIGURES
from research.figures import (
    answer_tables,
    demo_tables,
    diversity_tables,
    evaluation_tables,
    events_tables,
    experiment_tables,
    large_tables,
    offline_tables,
    protocol_tables,
    rivals_tables,
    scale_tables,
    serving_tables,
    tables,
    tuning_tables,
)
from research.figures.tables import Figure, Words

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    ".",
    "offline",
    "offline/evaluation",
    "offline_to_online",
    "online",
    "research/bench",
    "data_exchange_center",
    "past_one_machine",
)
BLOCK = re.compile(r"(?P<open><!-- figures: (?P<name>\w+) -->\n).*?(?P<close><!-- /figures -->)", re.DOTALL)

CHINESE = {
    **tables.CHINESE,
    **demo_tables.CHINESE,
    **offline_tables.CHINESE,
    **answer_tables.CHINESE,
    **evaluation_tables.CHINESE,
    **protocol_tables.CHINESE,
    **serving_tables.CHINESE,
    **events_tables.CHINESE,
    **diversity_tables.CHINESE,
    **experiment_tables.CHINESE,
    **rivals_tables.CHINESE,
    **scale_tables.CHINESE,
    **large_tables.CHINESE,
    **tuning_tables.CHINESE,
}

BLOCKS: dict[str, tuple[str, Callable[[Figure, Words], str]]] = {
    **demo_tables.BLOCKS,
    **offline_tables.BLOCKS,
    **answer_tables.BLOCKS,
    **evaluation_tables.BLOCKS,
    **protocol_tables.BLOCKS,
    **serving_tables.BLOCKS,
    **events_tables.BLOCKS,
    **diversity_tables.BLOCKS,
    **experiment_tables.BLOCKS,
    **rivals_tables.BLOCKS,
    **scale_tables.BLOCKS,
    **large_tables.BLOCKS,
    **tuning_tables.BLOCKS,
}


def rendered(text: str, word: Words) -> str:
    """The README with every block filled from its file; a block whose file is not there says so."""

    def fill(block: re.Match[str]) -> str:
        name, draw = BLOCKS[block["name"]]
        there = (FIGURES / name).exists()
        shown = draw(tables.read(name), word) if there else tables.not_measured(name, word)
        return f"{block['open']}{shown}\n{block['close']}"

    return BLOCK.sub(fill, text)


def readmes() -> dict[Path, Words]:
    """Every README and the words of its language."""
    languages: dict[str, Words] = {
        "README.md": lambda text: text,
        "README.zh-CN.md": lambda text: CHINESE.get(text, text),
    }
    return {ROOT / room / name: word for room in ROOMS for name, word in languages.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a README is out of date")
    check = parser.parse_args().check
    for path, word in readmes().items():
        old = path.read_text(encoding="utf-8")
        new = rendered(old, word)
        if check and new != old:
            sys.exit(f"{path.relative_to(ROOT)} does not show the figures of pic/figures: run make readme")
        if not check:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
