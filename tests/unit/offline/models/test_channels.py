from __future__ import annotations

import numpy as np
import torch

from data_exchange_center.channels import index_vectors, query_vectors
from offline.models.fm import FM


def test_the_inner_product_is_the_order_of_the_fm() -> None:
    torch.manual_seed(0)
    model = FM(6, 41, 8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    users = query_vectors(model.user_factors()[1:].numpy())
    items = index_vectors(model.item_factors()[1:].numpy(), model.item_bias()[1:].numpy())
    for user in range(5):
        codes = torch.tensor([[user + 1, item + 1] for item in range(40)])
        logits = model(codes)[:, 0].detach().numpy()
        products = items @ users[user]
        np.testing.assert_allclose(products - products[0], logits - logits[0], atol=1e-5)
