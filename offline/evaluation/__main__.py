"""How good the recommendations of the artifacts are: ``make evaluate-offline``, after ``make offline``.

Asks what the artifacts answer, with exact search, at the moment of every user's first held-out rating, and looks for
what the user liked among the held-out ten. Nothing is fitted but the baselines, and the source's recipe in a temporary
folder where the artifacts are another recipe's.

Reads:  the artifacts of `make offline`
Writes: pic/figures/evaluation_offline.json (another recipe's or data set's: with its name)
Run:    python -m offline.evaluation
Expect: five minutes on MovieLens-1M; with the default recipe recall@200 above 0.70 (popularity: 0.395), or it fails
"""

from __future__ import annotations

from rich.console import Console

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.evaluation import thresholds
from offline.evaluation.evaluate import evaluate, show, write


def main(settings: Settings) -> None:
    found = evaluate(settings, "make evaluate-offline")
    write(found, "evaluation_offline")
    show(found, Console())
    thresholds.check(found)


if __name__ == "__main__":
    run(main)
