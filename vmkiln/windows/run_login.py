"""Who may log in to the Windows VM of one run, and whom Packer finds there: a password and a certificate of the run.

The certificate's file is encrypted as Windows Server 2016 takes it (three keys of DES, SHA-1); it is read once, on a
disc of the same run, and its password lies beside it.
Source: RFC 7292 (PFX), RFC 5280; docs/windows.md has what Server 2016 makes of a newer file.
"""

import ipaddress
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

USER = "packer"  # of the VM, as the last step knows it
HOST_NAME = "build-vm"
PASSWORD_LETTERS = 24
NEVER = dict.fromkeys(map(ord, "kK"))  # of `USER`
CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
KEY_BITS = 2048
BEFORE, AFTER = timedelta(days=2), timedelta(days=7)  # the VM's clock may be wrong, and a build takes its time
PFX_ROUNDS = 2048


@dataclass(frozen=True)
class Certificate:
    """A certificate of one run: as PEM for Packer, as PFX with its key for the VM, its SHA-1 as Windows names it."""

    pem: str
    thumbprint: str
    pfx: bytes = field(repr=False)
    pfx_password: str = field(repr=False)


@dataclass(frozen=True)
class RunLogin:
    """The user `USER` and what he logs in with; `administrator_password` is nobody's, for servers ask for one."""

    password: str = field(repr=False)
    administrator_password: str = field(repr=False)
    certificate: Certificate


def new_login(addresses: Sequence[str], *, now: datetime) -> RunLogin:
    """A login of its own for a VM that is dialled at one of `addresses` (IPv4), valid around `now`."""
    return RunLogin(new_password(), new_password(), new_certificate(addresses, now=now))


def new_password() -> str:
    """24 letters and digits, some of each kind: Windows wants three kinds, and nothing on its way has to be quoted.

    Windows refuses one with the user's name in it, so one of its letters is never there.
    """
    classes = [letters.translate(NEVER) for letters in CLASSES]
    found = [secrets.choice(letters) for letters in classes]
    found += [secrets.choice("".join(classes)) for _ in range(PASSWORD_LETTERS - len(found))]
    secrets.SystemRandom().shuffle(found)
    return "".join(found)


def new_certificate(addresses: Sequence[str], *, now: datetime) -> Certificate:
    """A certificate for WinRM that vouches for itself alone."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST_NAME)])
    names = [x509.DNSName(HOST_NAME), *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses)]
    may = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign", "encipher_only",
         "decipher_only"), False
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BEFORE)
        .not_valid_after(now + AFTER)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_encipherment=True, **may), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    password = new_password()
    encryption = (
        serialization.PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(PFX_ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(hashes.SHA1())  # noqa: S303 (no other is read by Server 2016)
        .build(password.encode())
    )
    return Certificate(
        pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        thumbprint=certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 (Windows' name of it)
        pfx=pkcs12.serialize_key_and_certificates(HOST_NAME.encode(), key, certificate, None, encryption),
        pfx_password=password,
    )
