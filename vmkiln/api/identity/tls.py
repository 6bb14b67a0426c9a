"""The service's certificate: a local authority made at first start, and a certificate for every name listened on.

Both keys are P-256, readable by their owner only, and written whole or not at all. The authority lasts ten years, the
certificate is renewed a month before its end, and when the names change.
Source: RFC 5280 (BasicConstraints, KeyUsage, SubjectAltName, ExtendedKeyUsage).
"""

import contextlib
import datetime
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vmkiln.errors import InputError
from vmkiln.files import locks
from vmkiln.files.durable_file import make_folder, write_whole

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 396  # with SKEW less than the 398 that clients accept at most
RENEW_DAYS = 30
SKEW = datetime.timedelta(days=1)  # no clock that is set back by hours, as on a machine's first day, makes them void


@dataclass(frozen=True)
class TlsFiles:
    """The authority's certificate (for clients to trust), and the service's certificate with its key."""

    authority: Path
    certificate: Path
    key: Path


def listen_names(host: str) -> tuple[str, ...]:
    """The names a certificate is for: loopback, this machine's own name, and the address listened on."""
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
    if host not in {"", "0.0.0.0", "::"}:  # noqa: S104 (compared, not bound)
        names.append(host)
    return tuple(dict.fromkeys(name for name in names if name))


def ensure_tls(directory: Path, names: Sequence[str], *, now: datetime.datetime) -> TlsFiles:
    """The files in `directory`, made or renewed as far as needed; two processes may ask at once."""
    make_folder(directory)
    files = TlsFiles(directory / "ca.pem", directory / "server.pem", directory / "server-key.pem")
    authority_key = directory / "ca-key.pem"
    with locks.exclusive(directory / "lock"):
        if not (files.authority.exists() and authority_key.exists()):
            _make_authority(files.authority, authority_key, now)
        if not _is_good(files, names, now):
            _make_certificate(files, authority_key, names, now)
    return files


def _key_text(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _make_authority(authority: Path, key_file: Path, now: datetime.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"vmkiln local authority on {socket.gethostname()}"[:64])]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + datetime.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_whole(key_file, _key_text(key))
    write_whole(authority, certificate.public_bytes(serialization.Encoding.PEM))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _make_certificate(files: TlsFiles, authority_key: Path, names: Sequence[str], now: datetime.datetime) -> None:
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    signing = serialization.load_pem_private_key(authority_key.read_bytes(), password=None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)  # we wrote it
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + datetime.timedelta(days=CERTIFICATE_DAYS), authority.not_valid_after_utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        .sign(signing, hashes.SHA256())
    )
    write_whole(files.key, _key_text(key))
    write_whole(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _is_good(files: TlsFiles, names: Sequence[str], now: datetime.datetime) -> bool:
    """Whether the certificate is of our authority, fits its key, is for all names, and not about to end."""
    if not (files.certificate.exists() and files.key.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    with contextlib.suppress(Exception):
        certificate.verify_directly_issued_by(authority)
        return (
            certificate.public_key() == key.public_key()
            and certificate.not_valid_after_utc - now > datetime.timedelta(days=RENEW_DAYS)
            and {_general_name(name) for name in names} <= set(alternative)
        )
    return False


def certificates_of(file: Path) -> str:
    """The certificates (PEM) in a file, without a key that lies with them. Raises: `InputError` when there is none."""
    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"the certificate {file} cannot be used: {error}") from error
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in found)


def names_of(certificate_file: Path) -> frozenset[str]:
    """The host names and addresses that a certificate (PEM) is for. Raises: `InputError` when it cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound) as error:
        raise InputError(f"the certificate {certificate_file} cannot be used: {error}") from error
    addresses = (str(item) for item in names.get_values_for_type(x509.IPAddress))
    return frozenset((*names.get_values_for_type(x509.DNSName), *addresses))
