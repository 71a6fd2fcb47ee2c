"""Compare a candidate with the live release on the newest events, which neither was fitted on.

Both answer by exact search at each user's first such event, knowing what happened before it, and NDCG@50 is compared
in pairs. Users react to what they are shown, so feedback on answered lists favours the release that chose them. Items
that a user had from an answer (an event names its recommendation) are therefore compared apart: taken off both lists
and off the targets, they do not judge, as long as enough users liked others.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.release_parts import OwnIds, read_dataset, read_own_ids
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras import comparison, replay
from offline.data.sequences import sequences
from offline.feedback import merge
from offline.readers import PAST

LEAST_USERS: Final = 100  # with something to be found
MOST_USERS: Final = 10_000  # in the comparison, drawn with a fixed seed
K: Final = 50
TARGET: Final = "target"
EXPOSED: Final = "exposed"  # targets that the user had from an answer


class RefusedError(StepError):
    """The candidate must not go live. The message says why."""

    exit_code: ClassVar[int] = 3


def judge(live: Settings, candidate: Settings, events: pd.DataFrame) -> dict[str, Any]:
    """NDCG@50 of both on new events, and the paired difference with its interval.

    Of all events, and of those whose item the user did not have from an answer. "judged by" says which decides: the
    latter if `LEAST_USERS` have such.

    ``events``: all that are exported, as `artifacts.EVENTS`.
    """
    rows = newest_events(live, candidate, events)
    of_candidate = ndcg(candidate, rows)
    of_live = ndcg(live, rows)
    compared = {}
    for which in ("all", "unexposed"):
        both = pd.DataFrame({"candidate": of_candidate[which], "live": of_live[which]})
        both = both.dropna()
        means = both.mean().fillna(0.0).to_dict()
        difference = comparison.compare(
            both["candidate"].to_numpy(), both["live"].to_numpy()
        )
        compared[which] = means | difference

    enough = compared["unexposed"]["users"] >= LEAST_USERS
    return {
        "exposed events": int(rows[EXPOSED].sum()),
        "judged by": "unexposed" if enough else "all",
        **compared,
    }


def expect_no_worse(report: dict[str, Any]) -> None:
    """Raise RefusedError when too few users can be judged by, or when the candidate may be worse than the margin.

    ``report``: of `judge`, with the "margin".
    """
    gate = report[report["judged by"]]
    if gate["users"] < LEAST_USERS:
        raise RefusedError(
            f"{gate['users']:,} users liked something new among the events that neither release was fitted on, and "
            f"{LEAST_USERS} are needed to tell which is better",
            "Collect more feedback, or hold events out ([holdout] in dataset.toml).",
        )
    floor = -report["margin"] * gate["live"]
    if gate["low"] < floor:
        raise RefusedError(
            f"on the newest events of {gate['users']:,} users the candidate's NDCG@{K} is {gate['candidate']:.4f}, the "
            f"live release's {gate['live']:.4f}; the difference is {gate['difference']:+.4f} (95 %: {gate['low']:+.4f} "
            f"to {gate['high']:+.4f}), and it may not reach below {floor:+.4f}"
        )


def newest_events(
    live: Settings, candidate: Settings, events: pd.DataFrame
) -> pd.DataFrame:
    """All events of the users in the comparison, with own ids, by user and time; `TARGET` marks those to predict, and
    `EXPOSED` those among them whose item the user had from an answer.

    A user's targets are the last events, no more than the data set holds out, of those that are later than every event
    of that user that either release was fitted on; later than those of all users, if enough have such. Events of the
    live release's data set are taken from there, and from the candidate's only newer ones: damaged data does not judge
    itself. After a first target only targets follow.
    """
    user, time = Columns.USER, Columns.TIMESTAMP
    dataset = read_dataset(live.artifacts_dir)
    live_users, live_items = read_own_ids(live.artifacts_dir)
    other_users, other_items = read_own_ids(candidate.artifacts_dir)
    ratings, users, items = (table.read(live.artifacts_dir) for table in artifacts.RAW)
    merged = merge(dataset, ratings, users, items, events)
    people = OwnIds(
        merged.users[user].tolist(),
        merged.users[Columns.OWN_ID].tolist(),
        dataset.user_ids,
    )
    rows = _by_own_ids(merged.ratings, people, live_items)
    ratings = artifacts.RATINGS.read(live.artifacts_dir)
    of_live = _by_own_ids(ratings, live_users, live_items)
    ratings = artifacts.RATINGS.read(candidate.artifacts_dir)
    of_candidate = _by_own_ids(ratings, other_users, other_items)

    # all known events, then later ones of the candidate's data set
    newest = rows.groupby(user)[time].max()
    later = of_candidate[of_candidate[time] > of_candidate[user].map(newest)]
    rows = pd.concat([rows, later.drop(columns=Columns.SPLIT)], ignore_index=True)
    rows = rows[rows[user].isin({*live_users.values()} & {*other_users.values()})]
    rows = rows.sort_values([user, time], kind="stable")

    # of these the ones after both fits
    fitted = pd.concat(
        [
            known[known[Columns.SPLIT].isin(PAST)].groupby(user)[time].max()
            for known in (of_live, of_candidate)
        ]
    )
    last = rows[user].map(fitted.groupby(level=0).max()).fillna(-1)
    in_both = rows[Columns.ITEM].isin({*live_items.values()} & {*other_items.values()})
    new = rows[(rows[time] > last) & in_both]
    latest = new[new[time] > fitted.max()]
    liked = latest[latest[Columns.RATING] > dataset.positive_level]
    if liked[user].nunique() >= LEAST_USERS:
        new = latest
    new = held_out(new, dataset.holdout)

    # sample users, where there are very many
    begins = new.groupby(user)[time].min()
    begins = begins.sample(min(len(begins), MOST_USERS), random_state=0)
    first = rows[user].map(begins)
    is_target = rows.index.isin(new.index)
    shown = events[events["recommendation"].notna()]
    shown_pairs = pd.MultiIndex.from_frame(shown[["userid", "itemid"]])
    pairs = pd.MultiIndex.from_frame(rows[[user, Columns.ITEM]].astype(str))
    rows = rows.assign(
        **{TARGET: is_target, EXPOSED: is_target & pairs.isin(shown_pairs)}
    )
    kept = (is_target & first.notna()) | (rows[time] <= first)
    return rows[kept].reset_index(drop=True)


def held_out(new: pd.DataFrame, rule: HoldoutRule) -> pd.DataFrame:
    """The events, ordered by user and time, that a holdout by ``rule`` may have of each user: the last ones."""
    users = new.groupby(Columns.USER)
    if rule.longest is None:
        return new[new[Columns.TIMESTAMP] == users[Columns.TIMESTAMP].transform("max")]
    return new[users.cumcount(ascending=False) < rule.longest]


def _by_own_ids(ratings: pd.DataFrame, users: OwnIds, items: OwnIds) -> pd.DataFrame:
    """Ratings with own ids in the place of numbers."""
    own = {
        Columns.USER: ratings[Columns.USER].map(dict(users)),
        Columns.ITEM: ratings[Columns.ITEM].map(dict(items)),
    }
    return ratings.assign(**own)


def ndcg(settings: Settings, rows: pd.DataFrame) -> pd.DataFrame:
    """NDCG@50 of a release's answers at each user's first target, by own id; NaN where nothing new was liked.

    "all": of all targets; "unexposed": without `EXPOSED` items, on the lists and among the targets.
    """
    dataset = read_dataset(settings.artifacts_dir)
    users, items = read_own_ids(settings.artifacts_dir)
    numbers = {
        Columns.USER: rows[Columns.USER].map(users.numbers),
        Columns.ITEM: rows[Columns.ITEM].map(items.numbers),
    }
    # without items that only the other release knows
    numbered = rows.assign(**numbers).dropna(subset=[Columns.ITEM])
    numbered = numbered.sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable")
    data = sequences(
        numbered,
        list(items),
        dataset.positive_level,
        allows_repeats=dataset.allows_repeats,
    )
    target = numbered[TARGET].to_numpy(np.bool_)
    holdout = replay.holdout_of(data.select(~target), data.select(target))
    answers = replay.answers(settings, holdout, stored_events=False)
    lists = holdout.judged(answers.ranked)
    exposed = data.select(numbered[EXPOSED].to_numpy(np.bool_)).seen()
    unexposed_lists = replay.kept(lists, ~replay.hits(lists, exposed), 0)
    unexposed_targets = replay.without(holdout.relevance, exposed)
    found = {
        "all": replay.ndcg(lists, holdout.relevance, K),
        "unexposed": replay.ndcg(unexposed_lists, unexposed_targets, K),
    }
    return pd.DataFrame(found, [users[userid] for userid in data.user_numbers.tolist()])
