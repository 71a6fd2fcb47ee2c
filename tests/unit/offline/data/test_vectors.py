from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from offline.data import vectors
from offline.models.fm import FM


def test_the_inner_product_is_the_models_order() -> None:
    torch.manual_seed(0)
    model = FM(6, 41, 8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    users = vectors.user_vectors(model.user_factors()[1:].numpy())
    items = vectors.item_vectors(model.item_factors()[1:].numpy(), model.item_bias()[1:].numpy())
    for user in range(5):
        codes = torch.tensor([[user + 1, item + 1] for item in range(40)])
        logits = model(codes)[:, 0].detach().numpy()
        products = items @ users[user]
        np.testing.assert_allclose(products - products[0], logits - logits[0], atol=1e-5)


def test_every_item_vector_finds_itself_first() -> None:
    random = np.random.default_rng(0)
    items = vectors.item_vectors(random.normal(size=(300, 4)).astype(np.float32), random.normal(size=300))
    assert (np.argmax(items @ items.T, axis=1) == np.arange(300)).all()
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), np.linalg.norm(items[0]), rtol=1e-6)


def test_an_id_outside_the_vocabulary_is_unknown() -> None:
    codes = vectors.codes_of(pd.Series([9, 1, 4, 5]), np.array([1, 4, 9], dtype=np.int32))
    assert codes.tolist() == [3, 1, 2, 0]
