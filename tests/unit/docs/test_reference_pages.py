"""Reference pages: comments of the source, settings of every package, and the API are all in them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from data_exchange_center import artifacts
from docs import reference_pages as reference

SOURCE = '''
class Some:
    """A class."""

    first: int = 1  # behind
    # above, in
    # two lines
    second: int = 2
    third: int = 3

    # about nothing

TABLE = dict(  # behind an opening bracket
    a=1,
)
'''


def test_comments_belong_to_the_name_they_stand_at() -> None:
    assert reference.comments(SOURCE) == {
        "first": "behind",
        "second": "above, in two lines",
        "TABLE": "behind an opening bracket",
    }


def test_a_setting_has_variable_type_default_and_meaning() -> None:
    class Sample(BaseModel):
        budget_ms: Annotated[int, Field(ge=20, le=100)] = 50  # of a request

    assert list(reference._fields(Sample, ["budget_ms"], "RECSYS_")) == [
        ("`RECSYS_BUDGET_MS`", "integer, ≥ 20, ≤ 100", "`50`", "of a request")
    ]


def test_settings_of_extensions_are_found() -> None:
    prefixes = {
        str(kind.model_config["env_prefix"]) for kind in reference.extension_settings()
    }
    assert {
        "RECSYS_PANDAS__",
        "RECSYS_TRACING__",
        "RECSYS_MONITORING__",
        "RECSYS_SPARK__",
    } <= prefixes


def test_every_artifact_has_its_row() -> None:
    page = reference.artifacts_page()
    assert [
        each.path for each in artifacts.ARTIFACTS if f"`{each.path}`" not in page
    ] == []
