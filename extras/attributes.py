"""Errors for requests with an unknown attribute or attribute value; each lists those that exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from online.recommend.outcomes import BadRequestError

_NAMED: Final = 30  # values in an error
_SHOWN: Final = 40  # characters of what was sent that are echoed


def no_attribute(field: str, name: str, there: Iterable[str]) -> BadRequestError:
    known = ", ".join(sorted(there)) or "none"
    return BadRequestError(
        field, f"Items have no attribute {name[:_SHOWN]!r} here; there are: {known}."
    )


def no_value(field: str, name: str, value: str, there: list[str]) -> BadRequestError:
    """``there``: the known values, of which the most similarly spelled ones are listed."""
    value = value[:_SHOWN]
    if len(there) > _NAMED:
        near = get_close_matches(value, there, _NAMED, 0.4) or there[:_NAMED]
        known = f"among the {len(there)} that there are: {', '.join(near)}"
    else:
        known = f"there are: {', '.join(there)}"
    return BadRequestError(field, f"No item has {value!r} as {name}; {known}.")
