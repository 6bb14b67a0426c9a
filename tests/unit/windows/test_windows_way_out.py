"""What a Windows VM is told of a proxy and of authorities: nothing secret, in Windows' words, and taken back."""

import base64
import json
from datetime import UTC, datetime

import pytest
from cryptography import x509

from vmkiln.errors import InputError
from vmkiln.fetching.guest_way_out import STRAIGHT_OUT, GuestWayOut
from vmkiln.windows import answer_disc, scripts
from vmkiln.windows.answer_disc import GuestAddress
from vmkiln.windows.answer_file import Answer
from vmkiln.windows.run_login import new_certificate, new_login
from vmkiln.windows.way_out import bypass_of, told, why_untold

NOW = datetime(2026, 11, 29, tzinfo=UTC)
PROXY = GuestWayOut("http://proxy.example.com:3128", ".corp.example,10.0.0.0/8")


def test_the_disc_tells_the_proxy_in_the_words_of_each_that_asks() -> None:
    address = GuestAddress("00:00:00:00:00:01", "10.0.1.4", 24, "10.0.1.1", "10.0.2.53", "10.0.0.4")
    files = answer_disc.contents(Answer(new_login(["10.0.1.4"], now=NOW)), address, instance_id="i", way_out=PROXY)
    assert json.loads(files["run.json"])["proxy"] == {
        "server": "proxy.example.com:3128",
        "address": "http://proxy.example.com:3128",
        "past": "localhost,127.0.0.1,.corp.example,10.0.0.0/8",
        "bypass": "<local>;127.*;corp.example;*.corp.example;10.*",
    }


@pytest.mark.parametrize("proxy", ["http://me:secret@proxy:3128", "https://proxy:3128"])
def test_a_proxy_that_windows_cannot_have_is_not_told_and_that_is_said(proxy: str) -> None:
    assert told(GuestWayOut(proxy))["proxy"] is None
    assert why_untold(GuestWayOut(proxy))
    assert "secret" not in json.dumps(told(GuestWayOut(proxy)))


def test_without_a_way_out_nothing_is_told() -> None:
    assert told(STRAIGHT_OUT) == {"proxy": None, "authorities": []}
    assert not why_untold(STRAIGHT_OUT)


@pytest.mark.parametrize(
    ("no_proxy", "bypass"),
    [
        ("", ""),
        ("a.example, *.b.example", "a.example;*.a.example;b.example;*.b.example"),
        ("192.168.7.9", "192.168.7.9"),
        ("192.168.7.0/24", "192.168.7.*"),
        ("172.16.0.0/14", "172.16.*;172.17.*;172.18.*;172.19.*"),
        ("10.0.0.0/31", "10.0.0.0;10.0.0.1"),
        ("0.0.0.0/0", "*"),
        ("*", "*"),
        ("a.example,,a.example", "a.example;*.a.example"),
    ],
)
def test_what_goes_past_the_proxy_is_the_same_in_windows_words(no_proxy: str, bypass: str) -> None:
    assert bypass_of(no_proxy) == ";".join(filter(None, ["<local>;127.*", bypass]))


def test_each_authority_is_told_and_what_is_none_is_refused() -> None:
    pems = [new_certificate(["10.0.1.4"], now=NOW).pem for _ in range(2)]
    found = told(GuestWayOut(authorities="\n".join(pems)))["authorities"]
    ders = [x509.load_der_x509_certificate(base64.b64decode(text)) for text in found]
    assert ders == [x509.load_pem_x509_certificate(pem.encode()) for pem in pems]
    broken = pems[0].replace("MII", "!!!", 1)
    with pytest.raises(InputError, match="no certificate"):
        told(GuestWayOut(authorities=broken))


def test_what_the_script_reads_of_the_way_out_is_what_is_told() -> None:
    text = scripts.text(scripts.FIRST_BOOT)
    for name in told(PROXY)["proxy"]:
        assert f"$run.proxy.{name}" in text
    assert "$run.authorities" in text
    assert text.index("Invoke-Act 'proxy'") < text.index("Invoke-Act 'listener'")


def test_a_text_in_the_registry_is_taken_back_as_a_text() -> None:
    last = scripts.text(scripts.DEPROVISION)
    assert "if ($Change.type -eq 'String')" in last
    assert "type = $Type" in scripts.text(scripts.FIRST_BOOT)
