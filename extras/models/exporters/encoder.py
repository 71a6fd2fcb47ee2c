"""Write a sequence model as a bundle of kind encoder: for the exporters of sequence models. Needs torch and onnx."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from write import write


def write_encoder(
    folder: Path,
    name: str,
    library: str,
    user_vector: torch.nn.Module,
    history: int,
    **tables: pd.DataFrame,
) -> None:
    """``user_vector``: codes (batch, history), oldest first and padded with 0 on the left -> vectors (batch, d)."""
    items = torch.ones((2, history), dtype=torch.int64)
    items[0, :-1] = 0
    program = torch.onnx.export(
        user_vector.eval(),
        (items,),
        dynamo=True,
        opset_version=18,
        input_names=["items"],
        output_names=["user"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
        verbose=False,
    )
    about = {"name": name, "kind": "encoder", "library": library}
    write(folder, {**about, "history_length": history}, **tables)
    (folder / "encoder.onnx").write_bytes(program.model_proto.SerializeToString())
