"""Words of a text, as they are indexed and searched."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

_CJK = "\u3040-\u30ff\u3400-\u9fff"  # written without spaces: each character counts as a word
# vowel signs and the like from Devanagari to Mongolian: parts of words, where other marks are accents
_SIGNS = "".join(
    each
    for each in map(chr, range(0x900, 0x1900))
    if unicodedata.category(each) in ("Mc", "Mn")
)
_WORD = re.compile(rf"[{_CJK}]|(?:[^\W_{_CJK}]|[{_SIGNS}])+")
_SUFFIX = re.compile(r"(?<=\w{3})(ations?|ated|ating|ions?|ings?|ed|es|s)$")


def words_of(text: str) -> list[str]:
    """Words as they are indexed and searched: in lower case, without accents and English suffixes.

    "Amélie's animated wars" -> ["amelie", "anim", "war"]
    """
    parts = unicodedata.normalize("NFKD", re.sub(r"['\u2019]s\b", "", text)).casefold()
    letters = "".join(
        each for each in parts if not unicodedata.combining(each) or each in _SIGNS
    )
    return [
        _SUFFIX.sub("", word)
        for word in _WORD.findall(unicodedata.normalize("NFC", letters))
    ]


def named_values(attributes: Mapping[str, Any]) -> list[str]:
    """The values of an item's attributes that have names, by which it is found: not numbers."""
    values: list[str] = []
    for each in attributes.values():
        if isinstance(each, list):
            values += each
    return values
