"""The output of `make demo` that the documents show."""

from __future__ import annotations

from research.figure_files import ROOT
from research.figures.demo import excerpt


def test_the_excerpt_names_no_folder_of_this_machine() -> None:
    printed = f"Triton is ready on socket {ROOT}/data_exchange_center/online\n│  1 │ a film │\nthe end\n"
    assert excerpt(printed) == ["Triton is ready on socket data_exchange_center/online", "…", "the end"]
