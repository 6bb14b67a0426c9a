"""What a Python program of ours gets in its jail."""

import sysconfig

from vmkiln.host.confinement.jail import Jail
from vmkiln.host.confinement.python_jail import confinement_of, jail_of


def test_it_sees_the_standard_library_and_nothing_else() -> None:
    jail = jail_of(own_id=7)
    assert jail.files == (sysconfig.get_path("stdlib"),)
    assert (jail.copies, jail.devices, jail.memory) == ({}, (), None)


def test_it_has_no_descriptor_and_of_the_environment_only_what_is_fixed() -> None:
    held = confinement_of(own_id=7)
    assert (held.descriptors, set(held.environment)) == ((), {"PATH", "MALLOC_ARENA_MAX"})


def test_its_jail_stays_in_the_network_of_the_run() -> None:
    jail = jail_of(own_id=7)
    assert jail.shares_network
    assert Jail.read(jail.described()) == jail
    assert jail.limits["RLIMIT_FSIZE"] == 0
