"""Feast's own layout in Redis, version 3, by which a user's features are deleted without Feast."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from data_exchange_center import wire

_WORD: Final = 0xFFFFFFFF


def feast_online_key(number: int) -> bytes:
    """Redis key, in Feast's database, of what all releases have of a user; version 3 of the layout."""
    key = wire.FEAST_KEY["user"].encode()
    string, int64 = 2, 4  # of Feast's ValueType
    parts = struct.pack("<III", 1, string, len(key)), key, struct.pack("<IIq", int64, 8, number)
    return b"".join(parts) + wire.FEAST_PROJECT.encode()


def feast_fields(release: str, features: Iterable[str]) -> set[bytes]:
    """The fields below that key which are a release's; ``features``: all that it stores of a user."""
    view = wire.feast_name(wire.USER_SERVICE, release)
    return {f"_ts:{view}".encode(), *(struct.pack("<I", _murmur3(f"{view}:{name}".encode())) for name in features)}


def _murmur3(data: bytes) -> int:
    """MurmurHash3 of 32 bits (Appleby, public domain), seed 0."""
    value, whole = 0, len(data) // 4 * 4
    for (block,) in struct.iter_unpack("<I", data[:whole]):
        value = _rotated(value ^ _mixed(block), 13) * 5 + 0xE6546B64 & _WORD
    value ^= _mixed(int.from_bytes(data[whole:], "little")) ^ len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        value = (value ^ value >> shift) * factor & _WORD
    return value ^ value >> 16


def _mixed(block: int) -> int:
    return _rotated(block * 0xCC9E2D51 & _WORD, 15) * 0x1B873593 & _WORD


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> 32 - bits) & _WORD
