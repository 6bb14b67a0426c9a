"""A build VM's way to the Internet where its network has a proxy or an authority of its own, while it is built.

Steps get variables, which `sudo` passes on, and files in memory (`FOLDER`), made at every boot from the seed: the
machine's authorities with ours behind them, and what apt and wget need to find them. On the disk there is one file,
without a secret: sudo's list of the variables it passes on. The deprovision step takes it out again, so nothing of the
proxy or the authority is in the image, and a program that a template starts later as a service gets nothing of it.

*Leaves behind:* `SUDOERS` in the VM. *Undone by:* the deprovision step. *Safe to repeat:* yes.
Sources: sudoers(5), "env_keep"; apt.conf(5); wget(1), "Environment"; curl(1); what each program calls its bundle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vmkiln.errors import HostUnfit, InputError
from vmkiln.fetching.looked_up import LookedUp
from vmkiln.host.network.network_namespace import Allowance
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.settings import Settings

FOLDER = "/run/vmkiln"  # systemd's /run is in memory, also where cloud-init runs before it
SUDOERS = "/etc/sudoers.d/90-vmkiln-way-out"  # deprovision_linux.sh knows it
SEED_FILE = "authorities.pem"
MOST_BUNDLE_BYTES = 1024 * 1024
PROXY_PORTS = {"http": 80, "https": 443}
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
)


@dataclass(frozen=True)
class GuestWayOut:
    """A proxy ('' for none), what goes past it, and authorities (PEM, '' for none)."""

    proxy: str = ""
    no_proxy: str = ""
    authorities: str = ""

    @property
    def mask(self) -> SecretMask:
        """Takes the proxy's password out of what a guest says."""
        password = self.proxy.partition("://")[2].rpartition("@")[0].partition(":")[2]
        return SecretMask.of({password, unquote(password)})


STRAIGHT_OUT = GuestWayOut()


def guest_way_out_of(settings: Settings) -> GuestWayOut:
    """What the settings give to guests; reads the bundle. Raises: `InputError` for one that is no bundle."""
    return GuestWayOut(settings.guest_proxy, settings.guest_no_proxy, _authorities(settings))


def _authorities(settings: Settings) -> str:
    if (bundle := settings.guest_ca_bundle) is None:
        return ""
    try:
        with bundle.open("rb") as file:
            text = file.read(MOST_BUNDLE_BYTES + 1).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"guest_ca_bundle: {bundle} cannot be read as PEM", hint="certificates, no keys") from error
    if "-----BEGIN CERTIFICATE-----" not in text or "PRIVATE KEY" in text or len(text) > MOST_BUNDLE_BYTES:
        raise InputError(
            f"guest_ca_bundle: {bundle} is no list of certificates of at most {MOST_BUNDLE_BYTES} bytes",
            hint="certificates (PEM), one behind the other, and no keys",
        )
    _check_certificates(bundle, text)
    return text


def _check_certificates(bundle: Path, text: str) -> None:
    """All of them, for a Linux takes a bundle as it is, and a Windows is told each by itself."""
    from cryptography import x509  # noqa: PLC0415 (most builds have no bundle)

    try:
        x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise InputError(
            f"guest_ca_bundle: {bundle} has what is no certificate",
            hint="certificates (PEM), whole, one behind the other; `openssl x509 -in FILE -noout` tries the first",
        ) from error


def variables(way_out: GuestWayOut) -> tuple[tuple[str, str], ...]:
    """What a step finds in its environment; pure."""
    found: list[tuple[str, str]] = []
    if way_out.proxy:
        past = ",".join(word for word in ("localhost,127.0.0.1", way_out.no_proxy) if word)
        values = {"http_proxy": way_out.proxy, "https_proxy": way_out.proxy, "no_proxy": past}
        found += [(spelled, value) for name, value in values.items() for spelled in (name, name.upper())]
    if way_out.authorities:
        found += [(name, f"{FOLDER}/{SEED_FILE}") for name in CA_VARIABLES]
        found += [("APT_CONFIG", f"{FOLDER}/apt.conf"), ("WGETRC", f"{FOLDER}/wgetrc")]
    return tuple(found)


def seed_files(way_out: GuestWayOut) -> dict[str, str]:
    """What lies on the seed beside cloud-init's own files; pure."""
    return {SEED_FILE: way_out.authorities} if way_out.authorities else {}


def boot_commands(way_out: GuestWayOut, *, user: str, label: str) -> list[str]:
    """What the VM does early in each boot, before anybody logs in; pure."""
    names = " ".join(name for name, _ in variables(way_out))
    if not names:
        return []
    keep = f"umask 0227; printf '%s\\n' 'Defaults:{user} env_keep += \"{names}\"' > {SUDOERS}"
    commands = [f"[ ! -d /etc/sudoers.d ] || ( {keep} )"]
    if way_out.authorities:
        whole = f"{FOLDER}/{SEED_FILE}"
        commands.append(
            f"mkdir -p {FOLDER}/seed && mount -o ro LABEL={label} {FOLDER}/seed && "
            f"cat {' '.join(BUNDLES)} {FOLDER}/seed/{SEED_FILE} > {whole} 2> /dev/null; "
            f"umount {FOLDER}/seed; "
            f"printf 'Acquire::https::CaInfo \"{whole}\";\\n' > {FOLDER}/apt.conf; "
            f"printf 'ca_certificate = {whole}\\n' > {FOLDER}/wgetrc"
        )
    return commands


def allowances(way_out: GuestWayOut, found: LookedUp | None) -> tuple[Allowance, ...]:
    """What the firewall lets through besides, for a proxy at these addresses; pure. Raises: `HostUnfit` for none."""
    if not way_out.proxy:
        return ()
    host, port = proxy_server(way_out)
    addresses: Sequence[IPv4Address] = [
        address for address in (found.addresses if found else ()) if isinstance(address, IPv4Address)
    ]
    if not addresses or any(address.is_loopback or address.is_unspecified for address in addresses):
        raise HostUnfit(
            f"guest_proxy: {host} has no IPv4 address that a VM can reach",
            hint="guests have no IPv6, and do not reach this machine's loopback: name the proxy's own address",
        )
    return tuple(Allowance(IPv4Network(address), port) for address in addresses)


def proxy_server(way_out: GuestWayOut) -> tuple[str, int]:
    """The proxy's host and port; pure."""
    parts = urlsplit(way_out.proxy)
    return parts.hostname or "", parts.port or PROXY_PORTS.get(parts.scheme, 0)
