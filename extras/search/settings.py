"""Settings of free-text search."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from data_exchange_center.settings import ExtensionSettings


class SearchSettings(ExtensionSettings, env_prefix="RECSYS_SEARCH__"):
    """Settings of this extension. README.md says how the weights were chosen."""

    # of the matches' order, against the ranker's
    text_weight: Annotated[float, Field(ge=0, le=1)] = 0.6
    # words of queries that say nothing in this catalogue
    ignored: str = "film films movie movies"
    # of sentences; none: queries find items by words alone
    encoder: Literal["", "minilm"] = ""
    # of the encoder's matches, against those by words
    meaning_weight: Annotated[float, Field(ge=0, le=1)] = 0.7
