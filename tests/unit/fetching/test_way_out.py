"""Proxies and authorities of a network's own: what goes through them, what past them, and what is checked before."""

import base64
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from asked_server import BODY, serving
from connect_proxy import proxying
from image_server import new_certificate
from image_server import serving as serving_images

from vmkiln.errors import InputError
from vmkiln.fetching.http_fetch import answered, connected
from vmkiln.fetching.looked_up import LookedUp, looked_up
from vmkiln.fetching.server_rule import FOR_CALLERS, FOR_THE_OPERATOR, NamedBy, ServerRule, read_servers
from vmkiln.fetching.transport import REFUSED, ServerRefused
from vmkiln.fetching.way_out import WayOut, environment_of, is_past_proxy, shown_proxy, way_out_of
from vmkiln.settings import Settings


def outside(host: str, port: int) -> LookedUp:
    """`*.example` is on the Internet, as far as this machine sees it."""
    return LookedUp((ip_address("93.184.215.14"),)) if host.endswith(".example") else looked_up(host, port)


async def fetch(url: str, way_out: WayOut, rule: ServerRule = FOR_CALLERS) -> bytes:
    async with connected(way_out, rule, look_up=outside) as client, answered(client, url) as response:
        response.raise_for_status()
        return await response.aread()


async def test_a_request_goes_through_the_proxy_with_its_login() -> None:
    with serving() as server, proxying(server.port) as proxy:
        login = proxy.url.replace("//", "//me:p%40ss@")
        assert await fetch("http://scripts.example/x", WayOut(http_proxy=login)) == BODY
    [(method, target, told)] = proxy.asked
    assert (method, target) == ("GET", "http://scripts.example/x")
    assert base64.b64decode(told.removeprefix("Basic ")) == b"me:p@ss"


async def test_https_goes_through_a_tunnel_and_a_private_authority_is_trusted(tmp_path: Path) -> None:
    certificate = new_certificate(tmp_path / "pem")
    listed = ServerRule(NamedBy.CALLER, read_servers("localhost"))
    with serving_images(certificate=certificate) as server, proxying(port_of(server.address)) as proxy:
        server.files["/x"] = BODY
        way_out = WayOut(https_proxy=proxy.url, ca_bundle=certificate)
        assert await fetch(server.url("/x"), way_out, listed) == BODY
        assert [(method, target) for method, target, _ in proxy.asked] == [("CONNECT", server.address[8:])]
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
            await fetch(server.url("/x"), WayOut(https_proxy=proxy.url), listed)


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/x", "http://localhost:{port}/x", "http://2130706433:{port}/x", "http://0x7f.1:{port}/x",
        "http://169.254.169.254/x", "http://[::1]:{port}/x", "http://93.184.215.14/x", "http://1572395790/x",
        "http://nobody-has-this-name.invalid/x", "http://a.example:22/x",
    ],
)  # fmt: skip
async def test_a_proxy_is_not_asked_for_private_servers_or_addresses(url: str) -> None:
    with serving() as server, proxying(server.port) as proxy:
        way_out = WayOut(http_proxy=proxy.url, https_proxy=proxy.url)
        with pytest.raises(ServerRefused) as caught:
            await fetch(url.format(port=server.port), way_out)
        assert (str(caught.value), proxy.asked, server.asked) == (REFUSED, [], [])
        assert await fetch("http://a.example/x", way_out) == BODY  # the twin: it forwards
        assert await fetch(url.format(port=server.port), way_out, FOR_THE_OPERATOR) == BODY


async def test_a_redirect_behind_a_proxy_is_checked_too() -> None:
    with serving() as server, proxying(server.port) as proxy:
        server.redirects["/go"] = "http://localhost/inside"
        for named_by in (NamedBy.CALLER, NamedBy.USER):
            with pytest.raises(ServerRefused):
                await fetch("http://a.example/go", WayOut(http_proxy=proxy.url), ServerRule(named_by))
    assert {target for _, target, _ in proxy.asked} == {"http://a.example/go"}


async def test_no_proxy_is_asked_for_metadata_whoever_names_it() -> None:
    with serving() as server, proxying(server.port) as proxy:
        way_out, by_the_user = WayOut(http_proxy=proxy.url), ServerRule(NamedBy.USER)
        with pytest.raises(ServerRefused):
            await fetch("http://169.254.169.254/x", way_out, by_the_user)
        assert proxy.asked == []
        assert await fetch("http://10.1.2.3/x", way_out, by_the_user) == BODY  # the twin: a private one of the user's


async def test_what_goes_past_the_proxy_is_checked_here() -> None:
    with serving() as server, proxying(server.port) as proxy:
        way_out = WayOut(http_proxy=proxy.url, no_proxy=("localhost",))
        with pytest.raises(ServerRefused):
            await fetch(server.url(host="localhost"), way_out)
        assert await fetch(server.url(host="localhost"), way_out, FOR_THE_OPERATOR) == BODY
    assert proxy.asked == []
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("entry", "host", "port", "is_past"),
    [
        ("corp.example", "corp.example", 80, True),
        ("corp.example", "a.corp.example", 80, True),
        (".corp.example", "a.corp.example", 80, True),
        ("*.corp.example", "A.Corp.Example.", 80, True),
        ("corp.example", "badcorp.example", 80, False),
        ("corp.example:8080", "corp.example", 8080, True),
        ("corp.example:8080", "corp.example", 80, False),
        ("*", "a.example", 80, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("fd00::/8", "fd00::1", 80, True),
        ("[fd00::1]:443", "fd00::1", 443, True),
        ("10.1.2.3", "a.example", 80, False),
    ],
)
def test_what_goes_past_the_proxies(entry: str, host: str, port: int, is_past: bool) -> None:
    assert is_past_proxy(entry, host, port) is is_past


async def test_a_bundle_without_certificates_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("none\n")
    for file in ("empty.pem", "missing.pem"):
        with pytest.raises(InputError, match="ca_bundle"):
            await fetch("http://a.example/x", WayOut(ca_bundle=tmp_path / file))


def test_the_settings_are_the_way_out_and_the_environment_of_programs(tmp_path: Path) -> None:
    settings = Settings(tmp_path, http_proxy="http://a.example:1", no_proxy="b.example, c.example", ca_bundle=tmp_path)
    way_out = way_out_of(settings)
    assert way_out == WayOut("http://a.example:1", "", ("b.example", "c.example"), tmp_path)
    found = environment_of(way_out, {"PATH": "/bin", "HTTP_PROXY": "http://old.example:1", "https_proxy": "kept"})
    assert found == {
        "PATH": "/bin", "http_proxy": "http://a.example:1", "https_proxy": "kept", "no_proxy": "b.example,c.example",
        "NODE_EXTRA_CA_CERTS": str(tmp_path),
    }  # fmt: skip
    assert shown_proxy("http://me:secret@a.example:1") == "http://a.example:1"
