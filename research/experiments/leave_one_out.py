"""The last rating of every user, as papers measure it: ``make evaluate-last``, after ``make offline``.

The target is the last rating, liked or not, among all films but those rated before it. Nothing is fitted anew: the
models do not know the nine ratings before the last, only the histories hold them. Once the request names its time, and
sees what happened strictly before that second. Once the time is withheld, as it is from most published models: the
history is all that precedes the last rating in the file, and the request comes a second after the newest of it.

Reads:  the artifacts of `make offline`
Writes: pic/figures/evaluation_last.json (of another recipe than the default: with its name)
Run:    python -m research.experiments.leave_one_out
Expect: two minutes on MovieLens-1M
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from rich.console import Console

from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.history import History
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data.sequences import Ints, Sequences
from offline.evaluation import metrics, replay, served
from offline.evaluation.evaluate import head, show, write
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout
from offline.evaluation.report import plain
from offline.evaluation.served import State
from offline.readers import read_with_holdout

LAST = HoldoutRule(last=1)
CUTS = (10, 50, 200)


def last_ratings(data: Sequences) -> Holdout:
    """Each user's last rating is the target, liked or not."""
    holdout = replay.hold_out(data, LAST)
    return replace(holdout, relevance=sp.csr_matrix(holdout.relevance + holdout.disliked))


def without_time(holdout: Holdout) -> Holdout:
    """The same, asked for a second after the newest rating of the past."""
    past, newest = holdout.past, np.zeros(holdout.past.n_users, dtype=np.int64)
    there = past.lengths > 0
    newest[there] = past.times[past.starts[1:][there] - 1]
    return holdout.asked_at(newest + 1)


def states(holdout: Holdout, stored: Sequence[State]) -> list[State]:
    """The stored profiles with all events that each request sees."""
    known = holdout.known

    def own(events: Ints) -> list[Ints]:
        return [part[::-1] for part in np.split(events, known.starts[1:-1])]

    events = zip(own(known.itemids[known.items - 1]), own(known.ratings), own(known.times), strict=True)
    return [State(History(*each), user.profile) for each, user in zip(events, stored, strict=True)]


def scores(holdout: Holdout, lists: Lists) -> dict[str, float]:
    """Hit rates and NDCG over all users with a target; one item is relevant, so recall is the hit rate."""
    judged, wanted = holdout.judged(lists), holdout.relevance
    found = {f"hr@{k}": metrics.hit_rate(judged, wanted, k) for k in CUTS}
    return {
        name: float(np.nanmean(values))
        for name, values in (found | {"ndcg@10": metrics.ndcg(judged, wanted, 10)}).items()
    }


def measure(settings: Settings) -> dict[str, Any]:
    """Recall's order and the ranker's, with the time of the request and without it."""
    release_of_artifacts(settings)  # that they are of one run
    named = last_ratings(read_with_holdout(settings).data)
    stored = served.read_states(settings.exchange_dir, named.past)
    table: dict[str, Mapping[str, float]] = {}
    for name, holdout in (("with the time", named), ("without the time", without_time(named))):
        answers = served.answers(settings, holdout, states(holdout, stored))
        table |= {f"recall, {name}": scores(holdout, answers.fused), f"ranked, {name}": scores(holdout, answers.ranked)}
    return {
        **head("make evaluate-last", settings, settings.recipe, named),
        "first of its second": int(named.slices["first of its second"].sum()),
        "table": table,
    }


def main(settings: Settings) -> None:
    found = plain(measure(settings))
    write(found, settings, "evaluation_last")
    show(found, Console())


if __name__ == "__main__":
    run(main)
