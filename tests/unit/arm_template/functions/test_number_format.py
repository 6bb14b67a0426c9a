"""Numbers are written in .NET's patterns, and patterns that depend on a machine's region are not known."""

import pytest

from vmkiln.arm_template.functions.number_format import formatted_number


@pytest.mark.parametrize(
    ("value", "pattern", "expected"),
    [
        (7, "D3", "007"),
        (-7, "d3", "-007"),
        (255, "X4", "00FF"),
        (255, "x", "ff"),
        (-1, "X", "FFFFFFFFFFFFFFFF"),
        (8175133, "N0", "8,175,133"),
        (-1234.5, "N1", "-1,234.5"),
        (1.25, "F1", "1.3"),
        (3, "F", "3.00"),
        (12345, "e2", "1.23e+004"),
        (5, "G", "5"),
        (5, "000", "005"),
        (1234567, "#,##0", "1,234,567"),
        (1.5, "0.00", "1.50"),
        (1.5, "0.0#", "1.5"),
        (-3, "nr 00", "-nr 03"),
        (0, "#", ""),
    ],
)
def test_a_pattern_gives_what_dotnet_gives(value: int | float, pattern: str, expected: str) -> None:
    assert formatted_number(value, pattern) == expected


@pytest.mark.parametrize(
    ("value", "pattern"), [(5, "C"), (5, "P0"), (5, "Q"), (5, "v00"), (1.5, "D2"), (5, "0" * 99), (5, "0;0")]
)
def test_a_pattern_that_is_not_known_is_none(value: int | float, pattern: str) -> None:
    assert formatted_number(value, pattern) is None
