"""Numbers in .NET's patterns, as the ARM function format takes them: `D3`, `X2`, `N0`, `F1`, `E2`, `000`, `#,##0.00`.

`C` and `P` are refused, for what they give depends on the region of the machine. Source: .NET's "Standard numeric
format strings" and "Custom numeric format strings".
"""

import re
from decimal import ROUND_HALF_UP, Decimal

_STANDARD = re.compile(r"([dDxXnNfFeEgG])([0-9]{0,2})")
_CUSTOM = re.compile(r"([^#0,.;%'\"\\{}]*)([#0][#0,]*)(?:\.([#0]*))?([^#0,.;%'\"\\{}]*)")
_LONGEST = 40  # letters of a pattern
_WORD = 1 << 64  # a number below zero is shown in hexadecimal as its two's complement


def formatted_number(value: int | float, pattern: str) -> str | None:
    """The number in that pattern; None for a pattern that is not known, or not for such a number."""
    if len(pattern) > _LONGEST:
        return None
    if standard := _STANDARD.fullmatch(pattern):
        return _standard(value, standard[1], standard[2])
    custom = _CUSTOM.fullmatch(pattern) if not re.fullmatch(r"[A-Za-z][0-9]*", pattern) else None
    return _custom(Decimal(str(value)), custom) if custom else None


def _standard(value: int | float, letter: str, digits: str) -> str | None:
    match letter.lower():
        case "d" | "x" if not isinstance(value, int):
            return None
        case "d":
            shown = f"{abs(value):0{int(digits or 0)}}"
            return f"-{shown}" if value < 0 else shown
        case "x":
            return f"{int(value) % _WORD:0{int(digits or 0)}{letter}}"
        case "n" | "f":
            return f"{_rounded(Decimal(str(value)), int(digits or 2)):{',' if letter.lower() == 'n' else ''}f}"
        case "e":
            mantissa, _, power = f"{Decimal(str(value)):.{int(digits or 6)}{letter}}".partition(letter)
            return f"{mantissa}{letter}{power[0]}{power[1:]:0>3}"
    return f"{value}" if not digits else None


def _custom(value: Decimal, pattern: re.Match[str]) -> str:
    before, whole, fraction, behind = pattern[1], pattern[2], pattern[3] or "", pattern[4]
    found = _rounded(abs(value), len(fraction))
    integer, _, decimals = f"{found:f}".partition(".")
    least = whole.replace(",", "").count("0")
    integer = integer.lstrip("0").rjust(least, "0")
    if "," in whole.rstrip(","):
        integer = _grouped(integer)
    decimals = decimals[: fraction.rfind("0") + 1] + decimals[fraction.rfind("0") + 1 :].rstrip("0")
    sign = "-" if value < 0 and found else ""
    return f"{sign}{before}{integer}{f'.{decimals}' if decimals else ''}{behind}"


def _grouped(integer: str) -> str:
    first = len(integer) % 3
    pieces = [integer[:first], *(integer[at : at + 3] for at in range(first, len(integer), 3))]
    return ",".join(piece for piece in pieces if piece)


def _rounded(value: Decimal, digits: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)
