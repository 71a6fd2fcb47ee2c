"""A small world whose third recall channel has an encoder in Triton."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from data_exchange_center.channels import ChannelSet
from data_exchange_center.recipes import Recipe
from extras.models.encoder import Encoder, ImportedEncoderRecipe, extend_to_query
from tests.unit.extras.models import bundles
from tests.unit.online.world import DefaultWorld

CHANNEL = "sasrec"


@dataclass(frozen=True)
class EncodedWorld(DefaultWorld):
    release: str = "eeeeeeeeeeee"

    @property
    def recipe(self) -> Recipe:
        default = super().recipe
        channel = ImportedEncoderRecipe(name=CHANNEL, file="", history=bundles.HISTORY)
        recall = default.recall.model_copy(
            update={"channels": (*default.recall.channels, channel)}
        )
        return default.model_copy(update={"name": "encoded", "recall": recall})

    @cached_property
    def channels(self) -> ChannelSet:
        plain, rng = super().channels, np.random.default_rng(self.seed + 9)
        rows = len(self.itemids) + 1
        embedding = rng.normal(size=(rows, bundles.DIMS))
        embedding[0] = 0
        proto = bundles.encoder(embedding)
        extend_to_query(proto, bundles.DIMS)
        trained = [itemid in self.trained for itemid in sorted(self.itemids)]
        encoder = Encoder(
            name=CHANNEL,
            onnx=np.frombuffer(proto.SerializeToString(), np.uint8),
            newest=bundles.HISTORY,
            codes=np.arange(rows),
            items=rng.normal(size=(rows, bundles.DIMS + 2)).astype(np.float32),
            trained=np.array([False, *trained]),
        )
        return replace(plain, channels=(*plain.channels, encoder))

    @property
    def encoder(self) -> Encoder:
        found = self.channels.channels[-1]
        assert isinstance(found, Encoder)
        return found
