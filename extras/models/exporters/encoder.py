"""Write a sequence model as a bundle of kind encoder: for the exporters of sequence models. Needs torch and onnx."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch
from write import absolute, write


def arguments(models: list[str]) -> argparse.Namespace:
    """As `write.arguments`, and the sizes of the model."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "events", type=absolute, help="the folder that `make export-events` wrote"
    )
    parser.add_argument("bundle", type=absolute, help="the folder to write")
    parser.add_argument("--model", choices=models, default=models[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument(
        "--history", type=int, default=100, help="newest events that the model reads"
    )
    parser.add_argument("--dims", type=int, default=64, help="of its vectors")
    return parser.parse_args()


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
    write(folder, name, "encoder", library, **tables)
    with (folder / "model.toml").open("a", encoding="utf-8") as about:
        about.write(f"history_length = {history}\n")
    (folder / "encoder.onnx").write_bytes(program.model_proto.SerializeToString())
