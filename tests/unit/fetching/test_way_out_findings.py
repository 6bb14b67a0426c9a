"""What doctor tells of proxies and authorities: what is set without its login, and what cannot work with its cure."""

from ipaddress import ip_address
from pathlib import Path

import pytest
from image_server import new_certificate

from vmkiln.fetching.looked_up import LookedUp
from vmkiln.fetching.way_out_findings import way_out_findings
from vmkiln.host.doctor.fitness import Finding, Status
from vmkiln.settings import Settings

PROXY = "http://me:secret@proxy.example:3128"


def findings(settings: Settings, *addresses: str) -> list[Finding]:
    return list(way_out_findings(settings, look_up=lambda *_: LookedUp(tuple(map(ip_address, addresses)))))


def test_what_is_set_is_told_without_logins(tmp_path: Path) -> None:
    assert findings(Settings(tmp_path)) == []
    bundle = new_certificate(tmp_path / "ca.pem")
    settings = Settings(
        tmp_path, https_proxy=PROXY, ca_bundle=bundle, private_servers="10.0.0.0/8 a.example", guest_proxy=PROXY
    )
    here, guests = findings(settings, "10.1.2.3")
    assert (
        here.found
        == f"https_proxy http://proxy.example:3128, ca_bundle {bundle}, 2 private servers that callers may name"
    )
    assert guests.found == "guest_proxy http://proxy.example:3128"
    assert {here.status, guests.status} == {Status.OK}


@pytest.mark.parametrize(
    ("members", "addresses"),
    [
        ({"ca_bundle": Path("/nowhere.pem")}, ()),
        ({"private_servers": "http://a"}, ()),
        ({"guest_ca_bundle": Path("/nowhere.pem")}, ()),
        ({"guest_proxy": PROXY}, ()),
        ({"guest_proxy": PROXY}, ("127.0.0.1",)),
    ],
)
def test_what_cannot_work_has_a_cure(tmp_path: Path, members: dict[str, object], addresses: tuple[str, ...]) -> None:
    found = findings(Settings(tmp_path, **members), *addresses)  # type: ignore[arg-type]
    [finding] = found
    assert finding.status is Status.FAILED
    assert finding.remedy
    assert "secret" not in str(found)
