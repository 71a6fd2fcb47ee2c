"""Measure what expansions of a data set keep of its structure: ``make synthesis-figures``.

Reads   RECSYS_DATA, or what the first step has put into offline/raw
Writes  pic/figures/synthesis.json; expansions in a temporary folder
Run     make synthesis-figures
Expect  minutes on MovieLens-1M
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from past_one_machine.synthesis import SEED, Factors, Source, at_hand, expand, of_source, show
from research.figure_files import FIGURES, write_figure

FACTORS: Final = (4, 16)


def main(settings: Settings) -> None:
    source = Source.of(at_hand(settings))
    found = {"source": of_source(source)}
    with TemporaryDirectory() as scratch:
        for factor in FACTORS:
            folder = Path(scratch) / f"x{factor}"
            expand(source, Factors.of(factor), folder, source.dataset.name)
            found[f"x {factor}"] = of_source(Source.of(folder))
    show(found)
    report = {"command": "make synthesis-figures", "dataset": settings.data and settings.data.stem}
    write_figure(FIGURES / "synthesis.json", {**report, "seed": SEED, "rows": found})


if __name__ == "__main__":
    run(main, about=__doc__)
