"""Evaluate the recommendations of the artifacts: ``make evaluate-offline``, after ``make offline``.

Computes, with exact search, what the artifacts recommend at the time of every user's first held-out rating, and
compares it with what the user liked among the held-out ten. Only the baselines are fitted; with --with-source the
source's recipe too, the first time, for comparison.

Reads:  the artifacts of `make offline`
Writes: pic/figures/evaluation_offline.json (another recipe's or published data set's: with its name);
        of your own data offline/evaluation/ in the exchange folder
Run:    python -m offline.evaluation [--with-source]
Expect: a few minutes on MovieLens-1M; with the default recipe recall@200 of at least 0.735 (popularity: 0.395), or it
        fails
"""

from __future__ import annotations

from rich.console import Console

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.evaluation import report
from offline.evaluation.evaluate import asked_for, evaluate, show, source_artifacts, write


def main(settings: Settings, with_source: bool = False) -> None:
    source = source_artifacts(settings) if with_source else None
    found = evaluate(settings, f"make evaluate-offline{' with_source=1' if source else ''}", source=source)
    write(found, settings, "evaluation_offline")
    show(found, Console())
    report.check(found)


if __name__ == "__main__":
    with_source = asked_for(__doc__)
    run(lambda settings: main(settings, with_source))
