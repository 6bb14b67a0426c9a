"""Ids for VMs: no two runs have the same at a time, whoever dies, and they come from where no image is made."""

import itertools
import os
import select
import signal
import subprocess
import sys

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.host.confinement.vm_ids import BLOCK, LEAST_COUNT, VmIds, allotted, block_starts

FIRST = 3_000_000_000  # a range that no user has
HOLDER = f"""\
import sys, time
from vmkiln.host.confinement.vm_ids import allotted
with allotted(first_outside={FIRST}, count=65536) as ids:
    print(ids.first, flush=True)
    time.sleep(60)
"""


def test_blocks_lie_apart_and_keep_off_the_ends_of_the_range() -> None:
    starts = list(block_starts(65536))
    assert starts[0] > 32768
    assert starts[-1] + BLOCK < 65534
    assert all(later - earlier == BLOCK for earlier, later in itertools.pairwise(starts))


def test_two_at_once_get_ids_of_their_own_and_give_them_back() -> None:
    with allotted(first_outside=FIRST, count=65536) as one, allotted(first_outside=FIRST, count=65536) as two:
        assert abs(one.first - two.first) >= BLOCK
    with allotted(first_outside=FIRST, count=65536) as again:
        assert again.first == one.first


def test_another_process_has_other_ids_until_it_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        theirs = int(holder.stdout.readline())
        with allotted(first_outside=FIRST, count=65536) as ours:
            assert ours.first != theirs
        ended = os.pidfd_open(holder.pid)
        holder.send_signal(signal.SIGKILL)
        assert select.select([ended], [], [], 10)[0]
        os.close(ended)
    with allotted(first_outside=FIRST, count=65536) as ours:
        assert ours.first == theirs


def test_ids_of_living_processes_are_passed_over() -> None:
    """As those of a run in another network namespace, where the lock is not seen."""
    own = os.getuid()
    first = own + 1 - block_starts(LEAST_COUNT)[0]  # so that the first block begins with this process's own id
    with allotted(first_outside=first, count=LEAST_COUNT) as ids:
        assert own not in range(first + ids.first - 1, first + ids.first - 1 + BLOCK)


def test_a_user_with_too_few_ids_is_told() -> None:
    with pytest.raises(HostUnfit, match="subordinate ids"), allotted(first_outside=FIRST, count=LEAST_COUNT - 1):
        pass


def test_a_block_ends() -> None:
    ids = VmIds(100, 0)
    assert ids.of(BLOCK - 1) == 100 + BLOCK - 1
    with pytest.raises(ValueError, match=str(BLOCK)):
        ids.of(BLOCK)
