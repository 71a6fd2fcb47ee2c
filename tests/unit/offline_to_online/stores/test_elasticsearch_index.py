from __future__ import annotations

import pytest

from data_exchange_center.columns import vector_of
from data_exchange_center.recipes import VectorIndex
from offline_to_online.stores.elasticsearch import index_body


@pytest.mark.parametrize("kind", ["hnsw", "flat"])
def test_the_index_ranks_every_channel_by_its_models_metric_on_exact_floats(kind: VectorIndex) -> None:
    fields = index_body({"tower": 66, "ease": 18}, kind)["mappings"]["properties"]
    for channel, dims in (("tower", 66), ("ease", 18)):
        field = fields[vector_of(channel)]
        assert field["dims"] == dims
        assert field["similarity"] == "max_inner_product"
        assert field["index_options"]["type"] == kind  # int8_hnsw, the default, would round
