"""A proxy and authorities for a build VM: what its steps find, what lies on its disk meanwhile, what stays: nothing."""

import os
import re
import subprocess
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import pytest
from certificates import a_certificate

from vmkiln.errors import HostUnfit, InputError
from vmkiln.fetching.guest_way_out import (
    FOLDER,
    SEED_FILE,
    STRAIGHT_OUT,
    SUDOERS,
    GuestWayOut,
    allowances,
    boot_commands,
    guest_way_out_of,
    seed_files,
    variables,
)
from vmkiln.fetching.looked_up import LookedUp
from vmkiln.host.network.network_namespace import Allowance
from vmkiln.packer.packer_template import Connection, FileCopy, InlineShell, packer_input
from vmkiln.settings import Settings

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
PROXY = "http://me:p%40ss@proxy.corp.example:3128"
BOTH = GuestWayOut(PROXY, "corp.example", PEM)
DEPROVISION = Path(__file__).parents[3] / "vmkiln/packer/deprovision_linux.sh"


def at_boot(root: Path, way_out: GuestWayOut) -> None:
    """Run what a VM runs when it boots, in a folder in place of its file system; a seed is mounted by a stand-in."""
    programs = root / "programs"
    programs.mkdir(parents=True)
    (root / "etc/sudoers.d").mkdir(parents=True)
    (root / "etc/ssl/certs").mkdir(parents=True)
    (root / "etc/ssl/certs/ca-certificates.crt").write_text("the image's own\n")
    for name, text in seed_files(way_out).items():
        (programs / name).write_text(text)
    mount = f'#!/bin/sh\n[ "$1 $2 $3" = "-o ro LABEL=cidata" ] && cp {programs}/{SEED_FILE} "$4"\n'
    for name, script in {"mount": mount, "umount": '#!/bin/sh\nrm -r "$1"\n'}.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    for command in boot_commands(way_out, user="packer", label="cidata"):
        inside = re.sub(r"(?<![\w.])/(etc|run)/", rf"{root}/\1/", command)
        environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
        subprocess.run(["sh", "-c", inside], env=environment, check=True, timeout=20)


def files_of(root: Path) -> set[str]:
    """The files that the VM would have, but for its own."""
    own = {"/etc/ssl/certs/ca-certificates.crt"}
    found = {
        f"/{path.relative_to(root)}" for part in ("etc", "run") for path in (root / part).rglob("*") if path.is_file()
    }
    return found - own


def test_at_boot_a_vm_gets_authorities_in_memory_and_no_secret_on_its_disk(tmp_path: Path) -> None:
    at_boot(tmp_path, BOTH)
    in_memory = {f"{FOLDER}/{name}" for name in (SEED_FILE, "apt.conf", "wgetrc")}
    assert files_of(tmp_path) == in_memory | {SUDOERS}
    assert (tmp_path / f"run/vmkiln/{SEED_FILE}").read_text() == f"the image's own\n{PEM}"
    kept = (tmp_path / SUDOERS[1:]).read_text()
    assert kept.startswith('Defaults:packer env_keep += "http_proxy HTTP_PROXY ')
    assert "corp" not in kept
    assert (tmp_path / SUDOERS[1:]).stat().st_mode & 0o777 == 0o440
    inside = dict(variables(BOTH))
    assert {inside["SSL_CERT_FILE"], inside["APT_CONFIG"], inside["WGETRC"]} == in_memory


def test_deprovisioning_takes_away_what_lies_on_the_disk(tmp_path: Path) -> None:
    at_boot(tmp_path, BOTH)
    begin, end = "# what this build brought in\n", "rmdir /etc/systemd"
    removal = DEPROVISION.read_text().partition(begin)[2].partition(end)[0]
    inside = re.sub(r"(?<![\w.])/etc/", f"{tmp_path}/etc/", removal)
    subprocess.run(["sh", "-c", inside], check=True, timeout=20)
    assert {name for name in files_of(tmp_path) if not name.startswith("/run/")} == set()


def test_seed_and_user_data_hold_neither_proxy_nor_password() -> None:
    text = "".join([*boot_commands(BOTH, user="packer", label="cidata"), *seed_files(BOTH).values()])
    assert not {"proxy.corp.example", "p%40ss", "p@ss"} & set(re.split(r"[\s/:\"'@]", text))
    assert PEM not in "".join(boot_commands(BOTH, user="packer", label="cidata")), "cloud-init keeps these on the disk"


def test_without_settings_nothing_is_done_in_a_vm() -> None:
    assert (variables(STRAIGHT_OUT), boot_commands(STRAIGHT_OUT, user="u", label="l")) == ((), [])
    assert (seed_files(STRAIGHT_OUT), allowances(STRAIGHT_OUT, None)) == ({}, ())


def test_shell_steps_find_the_way_out_in_their_environment() -> None:
    steps = [InlineShell("a", "p", ("true",)), FileCopy("f", "p", Path("/x"), "/y")]
    for environment in ((), variables(BOTH)):
        content = packer_input(steps, Connection(22, "packer", "key", 60, "/run/packer", environment))
        template = content.text_of("template.json")
        assert ("environment_vars" in template) is bool(environment)
        assert (f"https_proxy={PROXY}" in template) is bool(environment)


def test_a_guests_password_is_masked_in_what_it_says() -> None:
    assert (
        BOTH.mask(f"+ export http_proxy={PROXY} p@ss")
        == "+ export http_proxy=http://me:***@proxy.corp.example:3128 ***"
    )


def test_the_firewall_lets_the_proxy_through_and_nothing_beside_it() -> None:
    found = LookedUp((ip_address("10.1.2.3"), ip_address("fd00::1")))
    assert allowances(BOTH, found) == (Allowance(IPv4Network("10.1.2.3/32"), 3128),)
    assert allowances(GuestWayOut("https://proxy"), found) == (Allowance(IPv4Network("10.1.2.3/32"), 443),)


@pytest.mark.parametrize("addresses", [(), ("fd00::1",), ("127.0.0.1",), ("10.0.0.1", "127.0.0.1"), ("0.0.0.0",)])
def test_a_proxy_that_no_vm_can_reach_is_told_before_one_starts(addresses: tuple[str, ...]) -> None:
    with pytest.raises(HostUnfit, match="guest_proxy"):
        allowances(BOTH, LookedUp(tuple(map(ip_address, addresses))))


@pytest.mark.parametrize(
    "text",
    ["", "none", PEM, "{good}" + PEM, "{good}-----BEGIN PRIVATE KEY-----\n", "\N{LATIN SMALL LETTER E WITH ACUTE}"],
)
def test_a_bundle_with_a_key_or_what_is_no_certificate_is_refused(tmp_path: Path, text: str) -> None:
    """Whichever system it is for: a Windows is told each certificate by itself, and no run begins to find that out."""
    bundle, good = tmp_path / "bundle.pem", a_certificate(tmp_path)[0].read_text()
    bundle.write_text(text.replace("{good}", good))
    with pytest.raises(InputError, match="guest_ca_bundle"):
        guest_way_out_of(Settings(tmp_path, guest_ca_bundle=bundle))
    bundle.write_text(f"# ours\n{good}\n{good}")
    assert guest_way_out_of(Settings(tmp_path, guest_ca_bundle=bundle)).authorities == bundle.read_text()


def test_a_bundle_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="guest_ca_bundle"):
        guest_way_out_of(Settings(tmp_path, guest_ca_bundle=tmp_path / "missing.pem"))
