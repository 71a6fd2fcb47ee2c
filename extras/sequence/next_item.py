"""Recipe `next-item-sequence`: that of the next event, `next-item`, with a sequence model as its fourth channel."""

from __future__ import annotations

from typing import Final

from data_exchange_center.recipes import RecallRecipe, Recipe
from extras.next_item.followers import NEXT_ITEM
from extras.sequence.channel import SequenceRecipe

CHANNELS: Final = (*NEXT_ITEM.recall.channels, SequenceRecipe(fusion_weight=2.0))
NEXT_ITEM_SEQUENCE: Final = Recipe(
    name="next-item-sequence",
    recall=RecallRecipe(**{**dict(NEXT_ITEM.recall), "channels": CHANNELS}),
    ranker=NEXT_ITEM.ranker,
)
