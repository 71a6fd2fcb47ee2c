"""What a command is told on its line, read."""

from __future__ import annotations

import argparse


def whole_numbers(text: str) -> tuple[int, ...]:
    """``"1,4,16"`` -> (1, 4, 16): ascending, each once; for ``type=`` of an argument.

    Raises ArgumentTypeError, which argparse tells in one sentence, for anything but whole numbers from 1 on.
    """
    parts = text.split(",")
    if all(each.strip().isdecimal() and int(each) > 0 for each in parts):
        return tuple(sorted(set(map(int, parts))))
    raise argparse.ArgumentTypeError(f"whole numbers from 1 on with commas between are expected, found {text!r}")
