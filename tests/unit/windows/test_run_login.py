"""The login of one run: a password that Windows takes, a certificate that Packer checks and Server 2016 reads."""

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from vmkiln.windows.run_login import CLASSES, USER, new_certificate, new_login, new_password

NOW = datetime(2026, 11, 29, tzinfo=UTC)
# DER of pbeWithSHAAnd3-KeyTripleDES-CBC (RFC 7292, appendix C) and of PBES2 (RFC 8018)
TRIPLE_DES, PBES2 = bytes.fromhex("060a2a864886f70d010c0103"), bytes.fromhex("06092a864886f70d01050d")


def test_a_password_has_each_kind_and_nothing_that_is_quoted() -> None:
    found = {new_password() for _ in range(300)}
    assert len(found) == 300
    for password in found:
        assert len(password) == 24
        assert password.isascii()
        assert password.isalnum()
        assert USER not in password.lower()
        assert all(set(password) & set(letters) for letters in CLASSES)


def test_the_certificate_is_for_the_address_that_is_dialled() -> None:
    found = new_certificate(["127.0.0.1", "10.1.0.4"], now=NOW)
    read = x509.load_pem_x509_certificate(found.pem.encode())
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["build-vm"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(of) for of in ("127.0.0.1", "10.1.0.4")]
    assert list(read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert read.not_valid_before_utc == NOW - timedelta(days=2)
    assert read.not_valid_after_utc > NOW + timedelta(days=1)
    assert found.thumbprint == read.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 (as Windows names it)


def test_the_key_is_encrypted_as_server_2016_reads_it() -> None:
    found = new_certificate(["127.0.0.1"], now=NOW)
    assert TRIPLE_DES in found.pfx
    assert PBES2 not in found.pfx
    key, certificate, others = pkcs12.load_key_and_certificates(found.pfx, found.pfx_password.encode())
    assert key is not None
    assert certificate == x509.load_pem_x509_certificate(found.pem.encode())
    assert others == []


def test_no_secret_of_a_login_is_shown() -> None:
    login = new_login(["127.0.0.1"], now=NOW)
    shown = repr(login)
    for secret in (login.password, login.administrator_password, login.certificate.pfx_password):
        assert secret not in shown
    assert "pfx=" not in shown
