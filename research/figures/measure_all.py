"""Measure every figure again on this machine, what the first page shows first: ``make figures``.

A file that this version has measured on this machine is skipped, so an interrupted run resumes (``only=`` measures
again); a study that saves partial results resumes where it was. What some commands need (a live release, both recipes'
releases, containers) is made once before the first of them. One that fails does not stop the others.

Reads   RECSYS_DATA, like every step: MovieLens-1M; for MovieLens-100K's figure the file ml_100k=<file>
Writes  pic/figures/*.json; then the pictures and the READMEs
Run     make figures [only="serving.json shed.json"], with the default ports free
Expect  hours
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
from typing import Final, NamedTuple

from data_exchange_center import VERSION
from research.figure_files import FIGURES, ROOT, is_finished, machine

log = logging.getLogger(__name__)

# Name -> commands that make what others need. The stores keep the source's release when the default's goes live.
NEEDS: Final = {
    "": (),
    "free ports": ("make down",),
    "live": ("make offline up sync serve",),
    "source live": ("RECSYS_RECIPE=source make offline up sync serve",),
    "both": ("RECSYS_RECIPE=source make offline up sync", "make offline sync serve"),
}


class Measurement(NamedTuple):
    """A file of ``pic/figures``, the command that writes it, and what it needs."""

    file: str
    command: str
    needs: str = "live"


ML_100K: Final = "RECSYS_DATA={ml_100k} RECSYS_EXCHANGE_DIR=build/ml-100k "
PAPERS: Final = "RECSYS_DATA=build/papers RECSYS_EXCHANGE_DIR=build/papers-exchange "
PAPERS_LIVE: Final = " && ".join(
    (
        '.venv/bin/python -m extras.next_item.papers "$RECSYS_DATA" build/papers',
        *(
            "RECSYS_RECIPE=next-item .venv/bin/python -m research.papers "
            f"--recipe {seed} > build/papers/recipe.json && "
            f"{PAPERS}RECSYS_RECIPE=build/papers/recipe.json make offline up sync serve evaluate-papers server=1"
            for seed in range(3)
        ),
        f"{PAPERS}make down",
    )
)
TA_FENG: Final = "RECSYS_DATA=ta-feng RECSYS_EXCHANGE_DIR=build/ta-feng "
PLAN: Final = (
    Measurement("demo.json", "make bench-demo", "free ports"),
    Measurement("demo_ta-feng.json", "make bench-demo RECSYS_DATA=ta-feng", "free ports"),
    Measurement("demo_output.json", "make demo-output", "free ports"),
    Measurement("evaluation.json", "make evaluate-full server=1 with_source=1"),
    Measurement("evaluation_offline.json", "make evaluate-full"),
    Measurement("training.json", "make pictures"),
    Measurement("serving.json", "make bench"),
    Measurement("shed.json", "make bench-shed"),
    Measurement("search.json", "make evaluate-search"),
    Measurement("evaluation_live_events.json", "make evaluate-live"),
    Measurement("papers.json", "make evaluate-papers"),
    Measurement("papers_live.json", PAPERS_LIVE, "free ports"),
    Measurement("rivals.json", "make evaluate-rivals"),
    Measurement("tune.json", "make tune"),
    Measurement("evaluation_source.json", "RECSYS_RECIPE=source make evaluate-full server=1", "source live"),
    Measurement("training_source.json", "RECSYS_RECIPE=source make pictures", "source live"),
    Measurement("canary.json", "make canary-simulation"),
    Measurement("serving_against.json", "make bench against=8f65f0c", "both"),
    Measurement("soak.json", "make soak minutes=60", "both"),
    Measurement("baskets_ta-feng.json", f"{TA_FENG}make offline evaluate-baskets", ""),
    Measurement("evaluation_offline_ml-100k.json", f"{ML_100K}make offline evaluate-full with_source=1", ""),
    Measurement("imported_models.json", "make evaluate-imported options=--one-of-each-kind"),
    Measurement(
        "imported_models_ml-100k.json",
        f"{ML_100K}make offline up sync serve evaluate-imported && {ML_100K}make down",
        "free ports",
    ),
)


def why_measure(file: str) -> str:
    """Why a file has to be measured; empty where this version was measured on this machine."""
    path = FIGURES / file
    figure = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not is_finished(figure):
        return "not measured yet"
    if (version := figure["measured"].get("version")) != VERSION:
        return f"measured with version {version}"
    return "" if figure["machine"] == machine() else "measured on another machine"


def main(only: list[str], ml_100k: str) -> None:
    there, failed = "", []
    for file, command, needs in PLAN:
        why = ("named" if file in only else "") if only else why_measure(file)
        if not why:
            continue
        if "{ml_100k}" in command and not ml_100k:
            failed.append(file)
            continue
        began = time.monotonic()
        log.info("%s: %s", file, why)
        made = needs == there or all(map(run, NEEDS[needs]))
        there = needs if made and needs else there
        if not made or not run(command.format(ml_100k=ml_100k)) or why_measure(file):
            failed.append(file)
        log.info("%s: %s, %.0f s", file, "failed" if file in failed else "measured", time.monotonic() - began)
    if not run("make evaluation-pictures serving-pictures readme"):
        failed.append("pictures")
    if failed:
        sys.exit(f"Not measured: {', '.join(failed)}. The output above says why; run make figures again.")


def run(command: str) -> bool:
    """Run a shell command in the repository's root. Returns whether it succeeded."""
    return subprocess.run(("bash", "-c", command), cwd=ROOT, check=False).returncode == 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], choices=[each.file for each in PLAN], metavar="FILE")
    parser.add_argument("--ml-100k", default="", help="MovieLens-100K's archive or folder")
    given = parser.parse_args()
    main(given.only, given.ml_100k)
