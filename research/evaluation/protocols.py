"""Evaluation protocols: which requests are evaluated, and what models may be fitted on.

In session    as many of each user's last events as the data set holds out; most requests continue a session. Models
              are the artifacts, fitted on what precedes these events, searched exactly or by the server.
Next session  each user's last session, begun by the first event after a break of an hour.
One moment    each user's first events from one moment on; models know nothing from then on, of any user.

Models of the last two are fitted here, in memory, on what precedes their requests. Requests come at their own times,
and as of now, years later; as of now only users who came back count, since by then a session is over. Each protocol
compares the served order with recall's, by the length of the gap before the request and by activity.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data_exchange_center.channels import BREAK_S, Channel
from data_exchange_center.files import write_json
from data_exchange_center.history import visible_at
from data_exchange_center.recipes import ListsRecipe, Recipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras import comparison, replay
from extras.replay import Holdout, Lists
from offline.data.lists import Lists as RecalledLists
from offline.data.lists import (
    StoredFeatures,
    ranker_of_lists,
    recall_lists,
    training_lists,
)
from offline.data.sequences import Inputs, Points, Sequences
from offline.data.statistics import list_spec
from offline.models.kinds import ListExamples
from offline.models.rankers import ranker_class
from offline.models.training import tensors_of
from offline.readers import read_with_holdout
from offline.recall.s2_vector_recall import fit_channels
from research.evaluation.metrics import per_user
from research.evaluation.metrics import slices as all_slices
from research.figures import plain

log = logging.getLogger(__name__)

IN_SESSION, NEXT_SESSION, ONE_MOMENT = "in session", "next session", "one moment"
AT_ITS_TIME, AS_OF_NOW = "at its time", "as of now"
ALL: Final = "all"
GAPS: Final = (  # from, and to less than, so many seconds
    ("below an hour", 0, BREAK_S),
    ("an hour to a day", BREAK_S, 86_400),
    ("a day to a month", 86_400, 30 * 86_400),
    ("a month and longer", 30 * 86_400, math.inf),
)
LEAST = 5  # events before a session that is evaluated
BEFORE = 0.9  # share of all events that come before the one moment
# of a user that are held out where the rule, a basket, has no limit
MOST_EVENTS: Final = 10
MEASURES: Final = ("recall@200", "recall@50", "ndcg@50")


# --- The cuts


def last_sessions(data: Sequences, least: int = LEAST) -> Holdout:
    """Hold out each user's last session, unless fewer than ``least`` events come before it."""
    begins = (np.diff(data.times, prepend=data.times[:1]) >= BREAK_S) | (
        data.positions == 0
    )
    # position of the event that begins each user's last session
    last = np.zeros(data.n_users, dtype=np.int64)
    np.maximum.at(last, data.users[begins], data.positions[begins])
    held_out = (last >= least)[data.users] & (data.positions >= last[data.users])
    return replay.holdout_of(data.select(~held_out), data.select(held_out))


def holdout_at(data: Sequences, time: int, horizon: int) -> Holdout:
    """Hold out, from ``time`` (seconds) on, the next ``horizon`` events of users who had rated something by then."""
    before = visible_at(data.times, time)
    known = data.select(before).lengths
    # position of each user's first event from the time on
    first = np.repeat(known, data.lengths)
    following = ~before & (first > 0) & (data.positions < first + horizon)
    return replay.holdout_of(data.select(before), data.select(following))


# --- Fitted in memory, without the files that the numbered steps write in between

FittedRecall = tuple[tuple[Channel, ...], tuple[Channel, ...]]  # see `fit_recall`


@dataclass(frozen=True, eq=False)
class Stages:
    """Fitted channels and ranker, and the ranker's features of users and items."""

    channels: tuple[Channel, ...]
    ranker: nn.Module
    stored: StoredFeatures


def fit_recall(past: Sequences, inputs: Inputs, recipe: Recipe) -> FittedRecall:
    """Fit the channels that make the ranker's training lists, and those that are served, as the steps do."""
    known = past.earlier(ranker_of_lists(recipe).past)
    training_channels, channels = (
        tuple(each.channel for each in fit_channels(events, inputs, recipe))
        for events in (known, past)
    )
    return training_channels, channels


def fit_stages(
    past: Sequences, inputs: Inputs, recipe: Recipe, recall: FittedRecall | None = None
) -> Stages:
    """Fit channels and ranker on ``past``, as the steps do. Raises StepError for a ranker not trained on lists.

    Args:
        recall: what `fit_recall` gave for the same past, channels and share of the ranker's past.
    """
    ranker = ranker_of_lists(recipe)
    training_channels, channels = recall or fit_recall(past, inputs, recipe)
    lists = training_lists(past, inputs.profiles, training_channels, recipe)
    spec = list_spec(inputs, recipe, ranker)
    examples = ListExamples(past, inputs, spec, training_channels, channels, lists)
    fitted = ranker_class(ranker.kind).fit(ranker, examples)
    stored = StoredFeatures.of(past, inputs, spec, ranker)
    return Stages(channels, fitted.network, stored)


def points_of(holdout: Holdout) -> Points:
    """One request for every user with a past and a holdout, at the holdout's times."""
    requested = np.diff((holdout.relevance + holdout.disliked).indptr) > 0
    users = np.flatnonzero((holdout.past.lengths > 0) & requested)
    return Points(users, holdout.known.lengths[users], holdout.times[users])


def in_both_orders(
    stages: Stages, recipe: Recipe, inputs: Inputs, holdout: Holdout
) -> tuple[Lists, Lists]:
    """(users, candidates) of the fused lists, in recall's order and in the ranker's; 0 for users without a request."""
    points = points_of(holdout)
    found = recall_lists(holdout.past, points, inputs.profiles, stages.channels, recipe)
    recalled, served = np.zeros(
        (2, holdout.past.n_users, recipe.recall.candidates), dtype=np.int64
    )
    recalled[points.users] = found.candidates
    served[points.users] = ranked(stages.ranker, found, stages.stored)
    return recalled, served


def ranked(
    model: nn.Module,
    lists: RecalledLists,
    stored: StoredFeatures,
    batch_size: int = 256,
) -> NDArray[np.int64]:
    """(m, c) candidates in the ranker's order, padding last; ties keep the fused order."""
    model.eval()
    out = []
    with torch.inference_mode():
        for start in range(0, len(lists), batch_size):
            part = lists.take(np.arange(start, min(start + batch_size, len(lists))))
            scores = model(*tensors_of(stored.inputs(part)))[..., 0].numpy()  # (m, c)
            scores = np.where(part.candidates > 0, scores, -np.inf)
            out.append(
                np.take_along_axis(
                    part.candidates, np.argsort(-scores, axis=1, kind="stable"), axis=1
                )
            )
    return np.concatenate(out)


# --- What is compared


def slices(
    holdout: Holdout, counts: NDArray[np.bool_]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Name and (users,) of each group among the users who count. ``holdout``: with requests at their own times."""
    gap, by_name = replay.gaps(holdout.past, holdout.times), all_slices(holdout)
    yield ALL, counts
    for name, shortest, longest in GAPS:
        yield name, counts & (gap >= shortest) & (gap < longest)
    for name in ("few ratings", "many ratings"):
        yield name, counts & by_name[name]


def compared(
    holdout: Holdout, answer: Callable[[Holdout], tuple[Lists, Lists]]
) -> dict[str, Any]:
    """Compare recall's order with the served one: when -> slice -> number of users, means, paired difference.

    Args:
        holdout: with requests at their own times.
        answer: (users, candidates) in recall's order, and in the served one.
    """
    found: dict[str, Any] = {}
    now = holdout.at(np.full_like(holdout.times, int(time.time())))
    for when, requested in ((AT_ITS_TIME, holdout), (AS_OF_NOW, now)):
        one, other = (
            per_user(holdout.relevance, requested.judged(lists))
            for lists in answer(requested)
        )
        counts = np.diff(holdout.relevance.indptr) > 0
        if when == AS_OF_NOW:
            counts &= replay.gaps(holdout.past, holdout.times) >= BREAK_S
        measured = [metric for metric in MEASURES if metric in one]
        found[when] = {
            name: {
                "users": int(users.sum()),
                "recall": {
                    metric: float(one[metric][users].mean()) for metric in measured
                },
                "ranked": {
                    metric: float(other[metric][users].mean()) for metric in measured
                },
                "difference": {
                    metric: comparison.compare(other[metric][users], one[metric][users])
                    for metric in measured
                },
            }
            for name, users in slices(holdout, counts)
            if users.any()
        }
    return found


def fitted(settings: Settings, release: str) -> dict[str, Any]:
    """Results of the protocols whose models are fitted here; none for a ranker that is not trained on lists.

    They take minutes, and are kept with the artifacts, for the next evaluation of the same ``release``; after a change
    of the evaluation's own code remove the file.
    """
    path, recipe = (
        settings.offline_dir / "evaluation" / "protocols.json",
        settings.recipe,
    )
    if not isinstance(recipe.ranker, ListsRecipe):
        return {}
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if kept.get("release") == release:
        log.info("the protocols with fits of their own are those in %s", path)
        return dict(kept["protocols"])
    inputs, found = read_with_holdout(settings), {}
    moment = int(np.quantile(inputs.data.times, BEFORE))
    for name, holdout in (
        (NEXT_SESSION, last_sessions(inputs.data)),
        (
            ONE_MOMENT,
            holdout_at(
                inputs.data, moment, inputs.dataset.holdout.longest or MOST_EVENTS
            ),
        ),
    ):
        if not holdout.relevance.nnz:
            log.warning("%s: nobody liked anything then", name)
            continue
        log.info(
            "%s: everything is fitted on the %s events before",
            name,
            f"{len(holdout.past.items):,}",
        )
        try:
            stages = fit_stages(holdout.past, inputs, recipe)
        except StepError as error:
            log.warning("%s: %s", name, error)
            continue
        found[name] = plain(
            compared(holdout, partial(in_both_orders, stages, recipe, inputs))
        )
    write_json(path, {"release": release, "protocols": found})
    return found
