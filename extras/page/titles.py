"""Items by words of their titles."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice


def folded(text: str) -> str:
    """Without case and accents: "Amélie" -> "amelie"."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


@dataclass(frozen=True)
class TitleSearch:
    """The titles of a catalogue, in memory.

    Attributes:
        titles: (item's number, folded title), in the order in which equally good ones are found.
    """

    titles: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, titles: Iterable[tuple[int, str]]) -> TitleSearch:
        """``titles``: (item's number, title), the best known first."""
        return cls(tuple((itemid, folded(title)) for itemid, title in titles))

    def find(self, text: str, size: int) -> list[int]:
        """Items whose titles hold every word of ``text``; those whose words begin so before the others."""
        words = folded(text).split()
        found = [(itemid, title) for itemid, title in self.titles if all(word in title for word in words)]
        begins = {itemid for itemid, title in found if all(f" {word}" in f" {title}" for word in words)}
        ordered = [*(i for i, _ in found if i in begins), *(i for i, _ in found if i not in begins)]
        return list(islice(ordered, size))
