# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["rectools[torch]==0.19.0", "pyarrow<21", "onnx", "onnxscript"]
# ///
"""Train and export a sequence model of RecTools: SASRec, eSASRec (with layers of LiGR) or BERT4Rec.

uv run from_rectools_sequences.py <exported events> <bundle> --model <model>
"""

from __future__ import annotations

import pandas as pd
import rectools
import torch
from encoder import write_encoder
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers
from write import LISTED, arguments, events_of, lists_of, sample, vectors

ESASREC = {
    "transformer_layers_type": LiGRLayers,
    "loss": "sampled_softmax",
    "n_negatives": 256,
}
MODELS = {
    "sasrec": (SASRecModel, {}),
    "esasrec": (SASRecModel, ESASREC),
    "bert4rec": (BERT4RecModel, {}),
}


class UserVector(torch.nn.Module):
    """What the model recommends by: its last state for the newest events."""

    def __init__(self, model: torch.nn.Module, masked: bool) -> None:
        super().__init__()
        self.model, self.masked = model, masked

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        # of its ids 0 pads; BERT4Rec's 1 is the mask, in the place of the next item
        ids = torch.where(items > 0, items + int(self.masked), 0)
        session = torch.nn.functional.pad(ids, (0, 1), value=1) if self.masked else ids
        of_items = self.model.item_model.get_all_embeddings()
        return self.model.encode_sessions({"x": session}, of_items)[:, -1]


def main() -> None:
    given = arguments(list(MODELS), epochs=5, history=100, dims=64)
    kind, more = MODELS[given.model]
    masked = given.model == "bert4rec"
    events = events_of(given)
    # the order of the file decides between events of one second
    times = pd.to_datetime(range(len(events)), unit="s")
    table = events.rename(columns={"user": "user_id", "item": "item_id"})
    data = Dataset.construct(table.assign(datetime=times, weight=1.0))
    model = kind(
        n_blocks=2,
        n_heads=2,
        n_factors=given.dims,
        session_max_len=given.history + int(masked),
        lr=1e-3,
        epochs=given.epochs,
        batch_size=128,
        deterministic=True,
        **more,
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
        UserVector(net, masked),
        given.history,
        items=vectors(ids, of_items[1 + int(masked) :]),
        expected=lists_of(found),
    )


if __name__ == "__main__":
    main()
