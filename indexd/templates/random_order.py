"""Deterministic randomness: the same seed gives the same numbers with every version of Python and on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from math import isqrt

ROUNDS = 4
_TABLE_LIMIT = 1024
_WORD = (1 << 64) - 1


class RandomNumbers:
    """SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), seeded by the BLAKE2b hash of a key."""

    def __init__(self, *key: int) -> None:
        self._state = int.from_bytes(_hash(key, 8), "little")

    def below(self, bound: int) -> int:
        """A number from 0 to `bound` - 1, each equally likely. Rejects the draws that would favour small numbers."""
        words = -(-bound.bit_length() // 64)
        mask = (1 << (bound - 1).bit_length()) - 1
        while True:
            number = 0
            for _ in range(words):
                number = number << 64 | self._next()
            if (number := number & mask) < bound:
                return number

    def _next(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _WORD
        mixed = self._state
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _WORD
        return mixed ^ (mixed >> 31)


class KeyedPermutation:
    """A permutation of 0 .. `size` - 1 that is computed for one index at a time, in constant memory.

    The generalized Feistel network with cycle walking of Black and Rogaway, "Ciphers with Arbitrary Finite Domains" (CT-RSA
    2002): the domain is a rectangle barely larger than `size`, and what falls outside is permuted again. Four rounds are
    indistinguishable from random where the round functions are (Luby and Rackoff, 1988); these only mix well, so this shuffles
    and does not encrypt.
    """

    def __init__(self, size: int, *key: int) -> None:
        self._size = size
        self._left = isqrt(max(size - 1, 0)) + 1
        self._right = -(-size // self._left) or 1
        # Each round: its function or its key, and the size of the half that it changes; it reads the other half.
        self._rounds: list[tuple[Callable[[int], int], int]] = []
        self._keys: list[tuple[int, int]] = []
        for index in range(ROUNDS):
            read, changed = (self._left, self._right) if index % 2 else (self._right, self._left)
            round_key = int.from_bytes(_hash((*key, index), 8), "little")
            if self._left.bit_length() > 64:
                self._rounds.append((_wide_function((*key, index), read), changed))
            elif self._left <= _TABLE_LIMIT:
                self._rounds.append(([_mix(half, round_key) for half in range(read)].__getitem__, changed))
            else:
                self._keys.append((round_key, changed))

    def __getitem__(self, index: int) -> int:
        return next(self.numbers(index))

    def numbers(self, start: int = 0) -> Iterator[int]:
        """The permuted numbers of the indexes from `start` on."""
        width, size, keys, rounds = self._left, self._size, self._keys, self._rounds
        for index in range(start, size):
            number = size
            while number >= size:
                right, left = divmod(index, width)
                for key, changed in keys:  # `_mix`, written out here, because calls would double the time
                    mixed = (right ^ key) * 0xBF58476D1CE4E5B9 & _WORD
                    mixed = (mixed ^ (mixed >> 29)) * 0x94D049BB133111EB & _WORD
                    left, right = right, (left + (mixed ^ (mixed >> 32))) % changed
                for function, changed in rounds:
                    left, right = right, (left + function(right)) % changed
                number = index = width * right + left
            yield number


def _mix(half: int, key: int) -> int:
    mixed = (half ^ key) * 0xBF58476D1CE4E5B9 & _WORD
    mixed = (mixed ^ (mixed >> 29)) * 0x94D049BB133111EB & _WORD
    return mixed ^ (mixed >> 32)


def _wide_function(key: tuple[int, ...], size: int) -> Callable[[int], int]:
    byte_count = size.bit_length() // 8 + 9
    salt = _hash(key, 32)

    def mix(half: int) -> int:
        return int.from_bytes(
            hashlib.shake_128(salt + half.to_bytes(byte_count, "little")).digest(byte_count), "little"
        )

    return mix


def _hash(numbers: tuple[int, ...], size: int) -> bytes:
    return hashlib.blake2b(",".join(map(str, numbers)).encode(), digest_size=size).digest()
