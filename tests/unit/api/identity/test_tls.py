"""The service's certificate: made once, trusted by its authority, renewed in time, private."""

import datetime
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from vmkiln.api.identity.tls import TlsFiles, certificates_of, ensure_tls, listen_names, names_of
from vmkiln.errors import InputError

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
NAMES = ("localhost", "127.0.0.1", "build.example.org")


def certificate(files: TlsFiles) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes())


def test_every_name_listened_on_is_verified_by_the_authority(tmp_path: Path) -> None:
    files = ensure_tls(tmp_path, NAMES, now=NOW)
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    for name in ("localhost", "build.example.org"):
        verifier = PolicyBuilder().store(Store([authority])).time(NOW).build_server_verifier(x509.DNSName(name))
        verifier.verify(certificate(files), [])


def test_a_clock_that_is_set_back_by_hours_leaves_it_good(tmp_path: Path) -> None:
    """As on a machine that takes its hardware clock for UTC until it has asked a server."""
    files = ensure_tls(tmp_path, NAMES, now=NOW)
    for path in (files.certificate, files.authority):
        found = x509.load_pem_x509_certificate(path.read_bytes())
        assert found.not_valid_before_utc <= NOW - datetime.timedelta(hours=14)
    found = certificate(files)
    assert found.not_valid_after_utc - found.not_valid_before_utc < datetime.timedelta(days=398), "clients want that"


def test_what_is_good_is_kept(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in vars(ensure_tls(tmp_path, NAMES, now=NOW)).values()}
    ensure_tls(tmp_path, NAMES[:2], now=NOW + datetime.timedelta(days=300))
    assert {path: path.read_bytes() for path in before} == before


def test_a_certificate_is_renewed_before_its_end_and_the_authority_stays(tmp_path: Path) -> None:
    files = ensure_tls(tmp_path, NAMES, now=NOW)
    old, authority = certificate(files), files.authority.read_bytes()
    later = NOW + datetime.timedelta(days=380)
    ensure_tls(tmp_path, NAMES, now=later)
    assert certificate(files).not_valid_after_utc > later + datetime.timedelta(days=300)
    assert certificate(files).serial_number != old.serial_number
    assert files.authority.read_bytes() == authority


def test_another_name_makes_another_certificate(tmp_path: Path) -> None:
    files = ensure_tls(tmp_path, NAMES, now=NOW)
    old = certificate(files).serial_number
    ensure_tls(tmp_path, (*NAMES, "192.0.2.1"), now=NOW)
    assert certificate(files).serial_number != old


def test_keys_are_private(tmp_path: Path) -> None:
    ensure_tls(tmp_path / "tls", NAMES, now=NOW)
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    for path in (tmp_path / "tls").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_that_start_at_once_get_the_same(tmp_path: Path) -> None:
    def made(_: int) -> tuple[bytes, ...]:
        files = ensure_tls(tmp_path, NAMES, now=NOW)
        return tuple(path.read_bytes() for path in vars(files).values())

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(made, range(8)))) == 1


def test_the_names_of_a_certificate_are_read_back(tmp_path: Path) -> None:
    files = ensure_tls(tmp_path, NAMES, now=NOW)
    assert names_of(files.certificate) == set(NAMES)
    with pytest.raises(InputError, match="cannot be used"):
        names_of(files.key)


def test_names_are_loopback_and_the_address_listened_on() -> None:
    assert {"localhost", "127.0.0.1", "::1", "192.0.2.7"} <= set(listen_names("192.0.2.7"))
    assert "0.0.0.0" not in listen_names("0.0.0.0")


def test_of_a_file_that_holds_the_key_too_the_certificates_alone_go_to_hosts(tmp_path: Path) -> None:
    files = ensure_tls(tmp_path, NAMES, now=NOW)
    both = tmp_path / "both.pem"
    parts = (files.key, files.certificate, files.authority)
    both.write_text("".join(part.read_text() for part in parts))
    assert certificates_of(both) == files.certificate.read_text() + files.authority.read_text()
    for broken in (tmp_path / "missing", files.key):
        with pytest.raises(InputError, match="cannot be used"):
            certificates_of(broken)
