"""Items behind those that the channels found: popular ones that complete a list, and a request's own candidates."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.candidates import Candidates, StoredUser, fused_lists
from data_exchange_center.fusion import (
    KINDS,
    NO_HITS,
    RRF_K,
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
    """Append items, (m,) ``more``, that no channel has on its list, fused as if the lists went on with ``tails``.

    Features and ties as of `fuse`, but an item on no tail follows in the given order, and a z-score is by the scores of
    the list alone. ``tails``: by channel; None: no channel scores the items.
    """
    if not len(more):
        return found
    places = {each: place for place, each in enumerate(more.tolist())}
    total = np.zeros(len(more))
    columns = np.zeros((KINDS * len(recipe.channels) + 1, len(more)))
    for n, channel in enumerate(recipe.channels):
        head = found.by_channel[channel.name]
        tail = tails[channel.name] if tails else NO_HITS
        at = [places[each] for each in tail.ids.tolist()]
        ranks = np.full(len(more), len(head.ids) + len(tail.ids))
        ranks[at] = len(head.ids) + np.arange(len(tail.ids))
        total[at] += channel.fusion_weight / (RRF_K + 1 + ranks[at])
        if len(head.ids):
            last = min(*head.scores[-1:], *tail.scores[-1:], np.inf)
            scores = np.full(len(more), last)
            scores[at] = tail.scores
            columns[KINDS * n : KINDS * (n + 1)] = (
                scores,
                z_scores(scores, head.scores),
                np.log1p(ranks),
            )
    order = np.argsort(-total, kind="stable")
    features = np.ascontiguousarray(columns[:, order].T, dtype=np.float32)
    features[:, -1] = np.log1p(len(found.item_numbers) + np.arange(len(order)))
    lowest = found.scores.min(initial=np.inf)
    scores = np.minimum(total[order].astype(np.float32), lowest)
    return replace(
        found,
        item_numbers=np.concatenate([found.item_numbers, more[order]]),
        scores=np.concatenate([found.scores, scores]),
        features=np.concatenate([found.features, features]),
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
