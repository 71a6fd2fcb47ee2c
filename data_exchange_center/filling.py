"""Items behind those that the channels found: popular ones that complete a list, and a request's own candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.candidates import Candidates, StoredUser, fused_lists
from data_exchange_center.fusion import (
    KINDS,
    NO_HITS,
    RRF_K,
    Fused,
    Hits,
    z_scores,
)
from data_exchange_center.recipes import RecallRecipe


def behind(
    recipe: RecallRecipe,
    found: Candidates,
    more: NDArray[np.int64],
    tails: Mapping[str, Hits] | None = None,
) -> Candidates:
    """Append items, (m,) ``more``, that no channel has on its list: see `fuse_behind`.

    ``tails``: how each channel's list goes on with them; None: no channel scores them.
    """
    if not len(more):
        return found
    names = [channel.name for channel in recipe.channels]
    weights = [channel.fusion_weight for channel in recipe.channels]
    lists = [found.by_channel[name] for name in names]
    tail_hits = [tails[name] if tails else NO_HITS for name in names]
    after = fuse_behind(lists, tail_hits, weights, more, len(found.item_numbers))
    last = found.scores.min(initial=np.inf)
    return replace(
        found,
        item_numbers=np.concatenate([found.item_numbers, after.ids]),
        scores=np.concatenate([found.scores, np.minimum(after.scores, last)]),
        features=np.concatenate([found.features, after.features]),
    )


def fill_up(
    recipe: RecallRecipe,
    found: Candidates | None,
    popular: NDArray[np.integer],
    user: StoredUser,
) -> Candidates:
    """Complete candidates that are too few by items that the user has not seen, in the order of ``popular``.

    They stand behind what the channels found, as many as the recipe has candidates. ``found``: None: nothing was.
    """
    if found is None:
        found = fused_lists(
            recipe, {channel.name: NO_HITS for channel in recipe.channels}
        )
    left = popular[~np.isin(popular, np.concatenate([user.seen, found.item_numbers]))]
    if user.only is not None:
        left = left[np.isin(left, user.only)]
    more = left[: max(recipe.candidates - len(found.item_numbers), 0)].astype(np.int64)
    return replace(behind(recipe, found, more), filled=more)


def fuse_behind(
    channels: Sequence[Hits],
    tails: Sequence[Hits],
    weights: Sequence[float],
    ids: NDArray[np.int64],
    size: int,
) -> Fused:
    """Fuse (m,) ``ids``, which are on none of the channels' lists, as if the lists went on with ``tails``.

    Features and ties as of `fuse`, but an item on no tail follows in the given order, and a z-score is by the scores of
    the list alone. ``size``: length of the fused list that they stand behind.
    """
    places = {each: place for place, each in enumerate(ids.tolist())}
    total = np.zeros(len(ids))
    columns = np.zeros((KINDS * len(channels) + 1, len(ids)))
    for n, (head, tail, weight) in enumerate(
        zip(channels, tails, weights, strict=True)
    ):
        at = [places[each] for each in tail.ids.tolist()]
        ranks = np.full(len(ids), len(head.ids) + len(tail.ids))
        ranks[at] = len(head.ids) + np.arange(len(tail.ids))
        total[at] += weight / (RRF_K + 1 + ranks[at])
        if len(head.ids):
            scores = np.full(
                len(ids), min(*head.scores[-1:], *tail.scores[-1:], np.inf)
            )
            scores[at] = tail.scores
            columns[KINDS * n : KINDS * (n + 1)] = (
                scores,
                z_scores(scores, head.scores),
                np.log1p(ranks),
            )
    order = np.argsort(-total, kind="stable")
    features = np.ascontiguousarray(columns[:, order].T, dtype=np.float32)
    features[:, -1] = np.log1p(size + np.arange(len(order)))
    return Fused(ids[order], total[order].astype(np.float32), features)
