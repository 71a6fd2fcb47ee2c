"""Settings of the engine Spark."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from data_exchange_center.settings import ExtensionSettings


class SparkSettings(ExtensionSettings, env_prefix="RECSYS_SPARK__"):
    """The engine Spark, which `make spark` installs."""

    # local[2], local-cluster[2,1,1024], spark://host:7077
    master: Annotated[
        str, Field(pattern=r"^(local(-cluster)?\[[\d,*]+\]|(spark|k8s)://\S+|yarn)$")
    ] = "local[2]"
    # of a shuffle, and of a table that is written
    partitions: Annotated[int, Field(ge=1)] = 8
    driver_memory: Annotated[str, Field(pattern=r"^[1-9]\d*[mg]$")] = "1g"
