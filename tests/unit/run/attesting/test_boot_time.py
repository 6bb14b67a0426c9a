"""How long an image took to boot is told of its own boot, and of no other disks'."""

from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.run.attesting.boot_time import boot_seconds
from vmkiln.run_state import PartKind

FACT = {"seconds_to_ssh": 40.0}


@pytest.mark.parametrize(
    ("facts", "booted", "seconds"),
    [
        ({"boot": FACT}, 61.52, 61.5),  # the VM's own boot is told more closely than the whole gate
        ({"boot": FACT}, None, 40.0),  # as by the run that booted the same bytes
        ({"finished": {"is_validated": True}}, 61.52, 61.5),
        ({"boot": None, "finished": {"is_validated": False}}, 61.52, None),  # an attempt before booted other disks
        ({}, None, None),
    ],
)
def test_only_a_boot_of_the_same_disks_is_told(
    facts: dict[str, Any], booted: float | None, seconds: float | None
) -> None:
    part = SimpleNamespace(kind=PartKind.BOOT, name="validation-vm", seconds=booted)
    store: Any = SimpleNamespace(
        runs=SimpleNamespace(find=lambda _run: SimpleNamespace(facts=facts)),
        timelines=SimpleNamespace(of_runs=lambda ids: {ids[0]: [] if booted is None else [part]}),
    )
    assert boot_seconds(store, "r") == seconds
