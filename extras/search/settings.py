"""Settings of free-text search."""

from __future__ import annotations

from typing import Literal

from data_exchange_center.settings import ExtensionSettings


class SearchSettings(ExtensionSettings, env_prefix="RECSYS_SEARCH__"):
    """Settings of this extension."""

    # of sentences; none: queries find items by words alone
    encoder: Literal["", "minilm"] = ""
