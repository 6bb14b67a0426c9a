"""Tests that have a turn every other day, by the day's number, as far as the whole suite runs.

What takes minutes of CPU with real VMs or real clients, and is tried every day without them, has one:
docs/decisions/0161-what-real-vms-do-every-other-day.md and docs/decisions/0167-real-builds-have-turns.md say what, and
what holds it on the other days.
"""

import pytest
import tiers

DAYS = tiers.days()
ON_EVEN_DAYS, ON_ODD_DAYS = (
    pytest.mark.skipif(days not in DAYS, reason=f"tried on days with an {days} number") for days in ("even", "odd")
)
