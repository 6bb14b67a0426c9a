"""What somebody names is fetched from the Internet only: every hop, every spelling, every moment. A live server is it.

Each refusal has its twin: the same address, allowed by the operator, reaches the server.
"""

import gzip
from collections.abc import Iterator
from ipaddress import ip_address

import httpx
import pytest
from asked_server import BODY, AskedServer, serving

from vmkiln.fetching.http_fetch import MOST_REDIRECTS, answered, cause_of, connected
from vmkiln.fetching.looked_up import LookedUp, looked_up
from vmkiln.fetching.server_rule import FOR_CALLERS, NamedBy, ServerRule, read_servers
from vmkiln.fetching.transport import REFUSED, LookUp, ServerRefused
from vmkiln.fetching.way_out import STRAIGHT

LOOPBACK = ServerRule(NamedBy.CALLER, read_servers("127.0.0.0/8, 0.0.0.0/32, ::/96, ::1, ::ffff:127.0.0.1"))
USER = ServerRule(NamedBy.USER)
# written so that a server on 127.0.0.1 answers
TO_LOOPBACK = (
    "http://127.0.0.1:{port}/x", "http://localhost:{port}/x", "http://LOCALHOST:{port}/x",
    "http://2130706433:{port}/x", "http://0x7f000001:{port}/x", "http://127.1:{port}/x",
    "http://127.0.1:{port}/x", "http://0x7f.1:{port}/x", "http://0:{port}/x", "http://0.0.0.0:{port}/x",
    "http://[::ffff:127.0.0.1]:{port}/x", "http://[::ffff:7f00:1]:{port}/x", "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/x",
    "http://public.example@127.0.0.1:{port}/x", "http://user:secret@127.1:{port}/x", "HTTP://127.0.0.1:{port}/x",
    "http://127.0.0.1:{port}/x#@public.example", "http://127.0.0.1:{port}?@public.example/x",
    "http://017700000001:{port}/x", "http://127.0x0.0.1:{port}/x",
)  # fmt: skip
# where nobody answers here, or must not
ELSEWHERE = (
    "http://[::1]:{port}/x", "http://[::]:{port}/x", "http://[::127.0.0.1]:{port}/x", "http://10.0.0.1/x",
    "http://172.16.0.1:8080/x", "http://192.168.0.1/x", "http://100.64.0.1/x", "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/latest/", "http://[::ffff:169.254.169.254]/", "http://168.63.129.16/machine?comp=goalstate",
    "http://100.100.100.200/latest/", "http://192.0.0.192/latest/", "http://[fd00:ec2::254]/latest/",
    "http://[64:ff9b::7f00:1]:{port}/x", "http://[64:ff9b::a9fe:a9fe]/", "http://[2002:7f00:1::]:{port}/x",
    "http://[2001:0:7f00:1::]/x", "http://[fe80::1]/x", "http://[ff02::1]/x", "http://224.0.0.1/x",
    "http://255.255.255.255/x", "http://240.0.0.1/x", "http://198.18.0.1/x", "https://192.168.0.1:8443/x",
    "http://127.0.0.1:22/", "http://nobody-has-this-name.invalid/x", "http://localhost.:{port}/x",
)  # fmt: skip
NO_ADDRESSES = (
    "ftp://127.0.0.1:{port}/x", "gopher://127.0.0.1:{port}/x", "http:///x", "http://\u2488\u2488/", "http://a b/x",
    "http://127.0.0.1:{port}\r\nHost: x/", "http://127.0.0.1:99999/x", "http://[::1%25lo]:{port}/x", "dict://localhost/x",
    "http://0177.0.0.1:{port}/x",
)  # fmt: skip


@pytest.fixture
def server() -> Iterator[AskedServer]:
    with serving() as running:
        yield running


async def fetch(url: str, rule: ServerRule = FOR_CALLERS, look_up: LookUp = looked_up) -> bytes:
    async with connected(STRAIGHT, rule, look_up=look_up) as client, answered(client, url) as response:
        response.raise_for_status()
        return await response.aread()


def names(**addresses: str) -> LookUp:
    """A resolver that knows these names (`_` for a dot), and of others what the real one does."""

    def look_up(host: str, port: int) -> LookedUp:
        known = addresses.get(host.replace(".", "_"))
        return LookedUp(tuple(map(ip_address, known.split()))) if known else looked_up(host, port)

    return look_up


@pytest.mark.parametrize("url", TO_LOOPBACK)
async def test_a_caller_does_not_reach_this_machine_however_it_is_written(server: AskedServer, url: str) -> None:
    with pytest.raises(ServerRefused) as caught:
        await fetch(url.format(port=server.port))
    assert str(caught.value) == REFUSED
    assert server.asked == []
    assert await fetch(url.format(port=server.port), LOOPBACK) == BODY  # the twin: the server is there, and is asked


@pytest.mark.parametrize("url", ELSEWHERE)
async def test_a_caller_reaches_nothing_private_and_learns_nothing(server: AskedServer, url: str) -> None:
    with pytest.raises(ServerRefused) as caught:
        await fetch(url.format(port=server.port))
    assert str(caught.value) == REFUSED, "one text, whatever is there"
    assert server.asked == []


@pytest.mark.parametrize("url", NO_ADDRESSES)
async def test_what_is_no_address_of_http_is_refused(server: AskedServer, url: str) -> None:
    with pytest.raises((httpx.InvalidURL, httpx.UnsupportedProtocol, ServerRefused)) as caught:
        await fetch(url.format(port=server.port), LOOPBACK)
    assert cause_of(caught.value)[1], "it is not tried again"
    assert server.asked == []


async def test_a_closed_port_is_told_as_an_open_one() -> None:
    with serving() as gone:
        url = gone.url()
    for rule, kind in ((FOR_CALLERS, ServerRefused), (LOOPBACK, httpx.ConnectError)):
        with pytest.raises(kind):
            await fetch(url, rule)


async def test_a_name_with_one_private_address_is_refused_as_a_whole(server: AskedServer) -> None:
    with pytest.raises(ServerRefused):
        await fetch(server.url(host="two.example"), look_up=names(two_example="93.184.215.14 127.0.0.1"))
    assert await fetch(server.url(host="one.example"), LOOPBACK, names(one_example="127.0.0.1")) == BODY


async def test_the_address_that_was_checked_is_connected_to(server: AskedServer) -> None:
    """Rebinding: the name means a good address when it is checked, and another at every later look."""
    looks: list[str] = []

    def rebinding(host: str, _port: int) -> LookedUp:
        looks.append(host)
        return LookedUp((ip_address("127.0.0.1" if len(looks) == 1 else "127.0.0.2"),))

    only_the_first = ServerRule(NamedBy.CALLER, read_servers("127.0.0.1"))
    # were the name looked up again, by us or below us, it would be refused, or be unknown
    assert await fetch(server.url(host="rebinding.invalid"), only_the_first, rebinding) == BODY
    assert looks == ["rebinding.invalid"]
    with pytest.raises(ServerRefused):
        await fetch(server.url(host="rebinding.invalid"), only_the_first, rebinding)
    assert len(server.asked) == 1
    assert server.asked[0][1]["host"] == f"rebinding.invalid:{server.port}"


async def test_other_addresses_of_a_name_are_tried(server: AskedServer) -> None:
    allowed = ServerRule(NamedBy.CALLER, read_servers("127.0.0.0/8"))
    assert await fetch(server.url(host="two.example"), allowed, names(two_example="127.0.0.9 127.0.0.1")) == BODY


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/inside", "http://2130706433:{port}/inside", "//127.1:{port}/inside"]
)
async def test_a_redirect_into_this_machine_is_refused(server: AskedServer, target: str) -> None:
    outside = ServerRule(NamedBy.CALLER, read_servers("outside.example"))
    known = names(outside_example="127.0.0.1")
    server.redirects["/go"] = target.format(port=server.port)
    with pytest.raises(ServerRefused) as caught:
        await fetch(server.url("/go", host="outside.example"), outside, known)
    assert str(caught.value) == REFUSED
    assert [path for path, _ in server.asked] == ["/go"]
    assert await fetch(server.url("/go", host="outside.example"), LOOPBACK, known) == BODY


async def test_a_users_own_private_server_is_asked_with_a_word(server: AskedServer) -> None:
    said: list[str] = []
    async with connected(STRAIGHT, USER, notice=said.append) as client, answered(client, server.url()) as response:
        assert await response.aread() == BODY
    assert ["127.0.0.1 is a private server" in text for text in said] == [True]


async def test_not_even_for_a_user_does_a_redirect_lead_inside(server: AskedServer) -> None:
    server.redirects["/go"] = server.url("/inside", host="localhost")
    with pytest.raises(ServerRefused):
        await fetch(server.url("/go"), USER)
    assert [path for path, _ in server.asked] == ["/go"]


async def test_a_login_and_a_signature_do_not_follow_to_another_server(server: AskedServer) -> None:
    with serving() as other:
        server.redirects |= {"/go": "/same", "/same": other.url("/taken")}
        other.redirects["/taken"] = server.url("/back")
        await fetch(server.url("/go?sig=SIGNATURE").replace("//", "//user:password@"), LOOPBACK)
        assert [path for path, _ in server.asked] == ["/go?sig=SIGNATURE", "/same", "/back"]
        assert ["authorization" in headers for _, headers in server.asked] == [True, True, False]
        [(path, headers)] = other.asked
    assert path == "/taken"
    assert not {"authorization", "cookie", "referer"} & set(headers)
    assert not any("cookie" in headers for _, headers in server.asked)


@pytest.mark.parametrize(("target", "is_taken"), [("http://a.example/x", False), ("https://b.example/x", True)])
async def test_from_https_no_redirect_leads_to_http(target: str, is_taken: bool) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        is_first = request.url.path == "/go"
        return httpx.Response(302, headers={"Location": target}) if is_first else httpx.Response(200, content=BODY)

    async def fetched() -> bytes:
        client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        async with client, answered(client, "https://a.example/go") as response:
            return await response.aread()

    if is_taken:
        assert await fetched() == BODY
    else:
        with pytest.raises(ServerRefused, match=r"without https, http://a\.example/x"):
            await fetched()


async def test_redirects_have_an_end(server: AskedServer) -> None:
    server.redirects["/round"] = "/round"
    with pytest.raises(httpx.TooManyRedirects) as caught:
        await fetch(server.url("/round"), LOOPBACK)
    assert len(server.asked) == MOST_REDIRECTS + 1
    assert cause_of(caught.value) == (f"more than {MOST_REDIRECTS} redirects", True)


async def test_a_packed_answer_is_refused_before_it_is_unpacked(server: AskedServer) -> None:
    bomb = gzip.compress(bytes(10 * 1024 * 1024))
    server.answers["/bomb"] = ({"Content-Encoding": "gzip"}, bomb)
    with pytest.raises(ServerRefused, match="packed"):
        await fetch(server.url("/bomb"), LOOPBACK)
    assert [headers["accept-encoding"] for _, headers in server.asked] == ["identity"]


async def test_nothing_is_taken_from_the_environment(server: AskedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert await fetch(server.url(), LOOPBACK) == BODY
