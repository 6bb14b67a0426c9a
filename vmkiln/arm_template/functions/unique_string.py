"""The ARM function uniqueString: thirteen letters that are the same as Azure's for the same texts.

A hash of 64 bits, of the MurmurHash3 family, of the texts joined by `-`, in base 32. Azure does not document it; that
it is this one was found out by several people, and pairs of texts and results that they got from Azure hold it in the
tests. Source: the "String functions for ARM templates" reference, uniqueString; MurmurHash3 (public domain).
"""

from vmkiln.arm_template.budget import Arguments
from vmkiln.arm_template.values import joined, needs_string

BYTES_A_STEP = 4
_MASK = 0xFFFFFFFF
_FIRST, _SECOND = 0x239B961B, 0xAB0E9789
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_LENGTH = 13


def unique_string(arguments: Arguments) -> str:
    """The function. Raises ValueError."""
    content = joined([needs_string(argument, "every argument") for argument in arguments], "-").encode()
    arguments.budget.work(len(content) // BYTES_A_STEP)
    left, found = _hash(content), ""
    for _ in range(_LENGTH):
        found += _LETTERS[left >> 59]
        left = left << 5 & (1 << 64) - 1
    return found


def _hash(content: bytes) -> int:
    low = high = 0
    whole = len(content) - len(content) % 8
    for at in range(0, whole, 8):
        low ^= _mixed_low(int.from_bytes(content[at : at + 4], "little"))
        low = (_rotated(low, 19) + high) * 5 + 0x561CCD1B & _MASK
        high ^= _mixed_high(int.from_bytes(content[at + 4 : at + 8], "little"))
        high = (_rotated(high, 13) + low) * 5 + 0x0BCAA747 & _MASK
    low ^= _mixed_low(int.from_bytes(content[whole : whole + 4], "little"))
    high ^= _mixed_high(int.from_bytes(content[whole + 4 :], "little"))
    low, high = _stirred(low ^ len(content), high ^ len(content))
    low, high = _stirred(_finished(low), _finished(high))
    return high << 32 | low


def _mixed_low(word: int) -> int:
    return _rotated(word * _FIRST & _MASK, 15) * _SECOND & _MASK


def _mixed_high(word: int) -> int:
    return _rotated(word * _SECOND & _MASK, 17) * _FIRST & _MASK


def _stirred(low: int, high: int) -> tuple[int, int]:
    low = low + high & _MASK
    return low, high + low & _MASK


def _finished(word: int) -> int:
    word = (word ^ word >> 16) * 0x85EBCA6B & _MASK
    word = (word ^ word >> 13) * 0xC2B2AE35 & _MASK
    return word ^ word >> 16


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _MASK
