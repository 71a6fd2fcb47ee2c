"""Settings of workers that train one model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from data_exchange_center.settings import ExtensionSettings


class TrainingSettings(ExtensionSettings, env_prefix="RECSYS_TRAINING__"):
    """Workers that train the tower and the rankers of lists; chosen by `offline.step_runner` where one is set."""

    workers: Annotated[int, Field(ge=1)] = 1  # processes on this machine, each with its share of the data
    restarts: Annotated[int, Field(ge=0)] = 3  # of all workers, after one has crashed
    device: Literal["cpu", "cuda"] = "cpu"  # cuda: a GPU for each worker
    precision: Literal["single", "mixed"] = "single"  # mixed: products of matrices in bfloat16; needs a GPU

    @property
    def half(self) -> bool:
        return self.precision == "mixed"

    @model_validator(mode="after")
    def _mixed_on_a_gpu(self) -> TrainingSettings:
        if self.half and self.device != "cuda":
            raise ValueError("precision=mixed requires a GPU: set RECSYS_TRAINING__DEVICE=cuda")
        return self
