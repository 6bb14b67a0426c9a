"""What a host is asked is sealed, and a host trusts the service by what is named there alone."""

import ssl
from pathlib import Path

import pytest
from certificates import a_certificate

from vmkiln.errors import InputError, KeyUnavailable
from vmkiln.sealing.seal import Seal
from vmkiln.shells.order import Meeting, Order, opened, sealed, trust_of

ORDER = Order("id", "run", Meeting("https://kiln.example:8443", "pem", "kiln", is_public=True), "its token", "key")


def test_an_order_is_read_by_hosts_with_the_keys_and_as_no_other(tmp_path: Path) -> None:
    seal = Seal(tmp_path)
    text = sealed(ORDER, seal)
    assert "token" not in text
    assert opened("id", text, seal) == ORDER
    assert "its token" not in repr(ORDER)
    with pytest.raises(KeyUnavailable):
        opened("another", text, seal)
    with pytest.raises(KeyUnavailable):
        opened("id", text, Seal(tmp_path / "other"))


def test_an_order_of_another_release_is_told(tmp_path: Path) -> None:
    seal = Seal(tmp_path)
    with pytest.raises(InputError, match="another release"):
        opened("id", seal.sealed({"shell_id": "id", "meeting": {}}, place="shell id"), seal)


def test_a_host_trusts_the_authority_of_its_service_and_no_other(tmp_path: Path) -> None:
    certificate, _ = a_certificate(tmp_path)
    own = trust_of(Meeting("https://localhost", certificate.read_text()))
    assert own.cert_store_stats()["x509"] == 1
    assert own.verify_mode is ssl.CERT_REQUIRED
    assert own.check_hostname
    public = trust_of(Meeting("https://kiln.example", certificate.read_text(), is_public=True))
    assert public.cert_store_stats()["x509"] > 1, "a proxy of the operator's may stand before it"
    with pytest.raises(InputError, match="not a certificate"):
        trust_of(Meeting("https://localhost", "nothing"))
