from __future__ import annotations

import argparse

import pytest

from data_exchange_center.steps import whole_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("4", (4,)), ("1,4,16", (1, 4, 16)), ("60000, 3883", (3883, 60_000)), ("4,1,4", (1, 4))],
)
def test_numbers_are_ascending_and_each_is_there_once(text: str, numbers: tuple[int, ...]) -> None:
    assert whole_numbers(text) == numbers


@pytest.mark.parametrize("text", ["", ",", "4,", "0", "1,0", "-1", "1.5", "1;4", "four", "²"])
def test_anything_else_is_one_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--factors", type=whole_numbers)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--factors={text}"])
    assert f"whole numbers from 1 on with commas between are expected, found {text!r}" in capsys.readouterr().err
