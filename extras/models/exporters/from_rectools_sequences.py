# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["rectools[torch]==0.19.0", "pyarrow<21", "onnx", "onnxscript"]
# ///
"""Train and export a sequence model of RecTools: SASRec or eSASRec (with layers of LiGR).

uv run from_rectools_sequences.py <exported events> <bundle> --model <model>
"""

from __future__ import annotations

import pandas as pd
import rectools
import torch
from encoder import write_encoder
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers
from write import LISTED, arguments, events_of, lists_of, sample, vectors

ESASREC = {
    "transformer_layers_type": LiGRLayers,
    "loss": "sampled_softmax",
    "n_negatives": 256,
}
MODELS = {"sasrec": {}, "esasrec": ESASREC}


class UserVector(torch.nn.Module):
    """What the model recommends by: its last state for the newest events."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        of_items = self.model.item_model.get_all_embeddings()
        return self.model.encode_sessions({"x": items}, of_items)[:, -1]


def main() -> None:
    given = arguments(list(MODELS), epochs=5, history=100, dims=64)
    events = events_of(given)
    # the order of the file decides between events of one second
    times = pd.to_datetime(range(len(events)), unit="s")
    table = events.rename(columns={"user": "user_id", "item": "item_id"})
    data = Dataset.construct(table.assign(datetime=times, weight=1.0))
    model = SASRecModel(
        n_blocks=2,
        n_heads=2,
        n_factors=given.dims,
        session_max_len=given.history,
        lr=1e-3,
        epochs=given.epochs,
        batch_size=128,
        deterministic=True,
        **MODELS[given.model],
    )
    model.fit(data)

    users = data.user_id_map.external_ids
    some = users[sample(users)]
    found = model.recommend(some, data, k=LISTED, filter_viewed=True)
    net = model.torch_model.cpu().eval()
    of_items = net.item_model.get_all_embeddings().detach().numpy()
    ids = model.data_preparator.get_known_item_ids()
    write_encoder(
        given.bundle,
        f"rectools_{given.model}",
        f"rectools {rectools.__version__}",
        UserVector(net),
        given.history,
        items=vectors(ids, of_items[1:]),
        expected=lists_of(found),
    )


if __name__ == "__main__":
    main()
