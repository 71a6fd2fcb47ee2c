"""Two vector channels, their fusion and the list ranker: fitted on the past, then asked once for every user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from data_exchange_center.channels import Channel
from offline.data.item_item import ease_channel
from offline.data.knowledge import crosses, item_columns, similarities
from offline.data.lists import channel_list, recall_lists
from offline.data.requests import Points, request_points
from offline.data.sequences import Sequences
from offline.evaluation.inputs import Inputs
from offline.evaluation.metrics import Lists
from offline.torchfm.ranker import Knowledge, ListRanker
from offline.torchfm.ranker_train import RankerTraining, SideFeatures, ranked, train_ranker
from offline.torchfm.tower_train import TowerTraining, train_tower

CROSSED = ("gender", "age")  # the first profile fields


@dataclass(frozen=True)
class StagesConfig:
    """Chosen on the ten ratings before the held-out ten, with fits on everything before those."""

    tower: TowerTraining = field(default_factory=TowerTraining)
    ranker: RankerTraining = field(default_factory=RankerTraining)
    weights: tuple[float, float] = (2.0, 1.0)  # of tower and EASE in the fusion
    candidates: int = 200


@dataclass(frozen=True)
class Stages:
    """Fitted channels and ranker, and what the ranker is told of users and items."""

    channels: tuple[Channel, ...]
    ranker: ListRanker
    side: SideFeatures


@dataclass(frozen=True)
class Answers:
    """(users, candidates) codes, best first: each channel's, the fused ones, the same in the ranker's order."""

    channels: Mapping[str, Lists]
    fused: Lists
    ranked: Lists


def fit_channels(past: Sequences, inputs: Inputs, config: StagesConfig) -> tuple[Channel, ...]:
    """The tower and EASE as vectors."""
    tower, _ = train_tower(past, inputs.genres, inputs.profiles, config.tower)
    return tower.channel(), ease_channel(past.seen())


def fit_stages(past: Sequences, inputs: Inputs, config: StagesConfig) -> Stages:
    """Everything fitted on ``past``.

    The ranker learns on lists of a recall that knows the first 70 % of each user's past, at requests later than those:
    none of its targets was ever in a fit that made its inputs. Afterwards similarities, crosses and item columns are
    those of the whole past. The item counts thereby shift by about log(1 / 0.7), the same for all items.
    """
    settings = config.ranker
    cut = np.floor(settings.past * past.lengths).astype(np.int64)
    earlier = past.select(past.positions < np.repeat(cut, past.lengths))
    teachers = fit_channels(earlier, inputs, config)
    points = request_points(past, settings.stride, np.random.default_rng(settings.seed + 1))
    points = points.take(points.positions >= cut[points.users])
    lists = recall_lists(
        past,
        points,
        inputs.profiles,
        teachers,
        config.weights,
        size=config.candidates,
        history=settings.shape.history,
        horizon=settings.horizon,
    )
    ranker, _ = train_ranker(lists, _side(earlier, inputs), _knowledge(earlier, teachers, inputs), settings)
    channels = fit_channels(past, inputs, config)
    ranker.renew(_knowledge(past, channels, inputs))
    return Stages(channels, ranker, _side(past, inputs))


def answer(stages: Stages, past: Sequences, inputs: Inputs, config: StagesConfig) -> Answers:
    """The lists of every user right after the past, asked at the time of the user's first held-out rating.

    Of the held-out part nothing but that time is read: it says whether the user comes back after a break.
    """
    points = Points(np.arange(past.n_users), past.lengths)
    channels = {
        channel.name: channel_list(inputs.data, points, inputs.profiles, channel, config.candidates)
        for channel in stages.channels
    }
    history = config.ranker.shape.history
    lists = recall_lists(
        inputs.data,
        points,
        inputs.profiles,
        stages.channels,
        config.weights,
        size=config.candidates,
        history=history,
    )
    return Answers(channels, lists.candidates, ranked(stages.ranker, lists, stages.side))


def _side(past: Sequences, inputs: Inputs) -> SideFeatures:
    return SideFeatures(inputs.profiles[:, : len(CROSSED)], item_columns(past, inputs.years))


def _knowledge(past: Sequences, channels: tuple[Channel, ...], inputs: Inputs) -> Knowledge:
    fields = inputs.profiles[:, : len(CROSSED)]
    cardinalities = {name: int(column.max()) + 1 for name, column in zip(CROSSED, fields.T, strict=True)}
    return Knowledge(
        similarities(channels, inputs.genres, inputs.years),
        crosses(past, fields, cardinalities),
    )
