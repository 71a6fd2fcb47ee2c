"""The output and the answer of `make demo` that the documents show."""

from __future__ import annotations

import json

from research.demo import answer_lines, excerpt
from research.figures import ROOT


def test_the_excerpt_names_no_folder_of_this_machine() -> None:
    printed = f"Triton is ready on socket {ROOT}/data_exchange_center/online\n│  1 │ a film │\nthe end\n"
    assert excerpt(printed) == [
        "Triton is ready on socket data_exchange_center/online",
        "…",
        "the end",
    ]


def test_an_answer_is_json_without_the_data_sets_content() -> None:
    item = {
        "itemid": 7,
        "score": 0.5,
        "title": "Heat",
        "genres": ["Crime"],
        "year": 1995,
    }
    answer = {"userid": 1, "item_list": [item] * 3, "took_ms": {"total": 1.5}}
    lines = answer_lines(answer)
    assert "Heat" not in "".join(lines)
    found = json.loads("".join(lines).replace(", …]", "]"))
    assert [each["itemid"] for each in found["item_list"]] == [7, 7]
    assert found["took_ms"] == {"total": 1.5}
