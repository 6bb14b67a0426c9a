"""How this machine gets to the Internet: the proxies, what goes past them, and which authorities are trusted.

Sources: curl(1), "ENVIRONMENT", for the form of proxies and of `no_proxy`; RFC 9110, 7.6.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from vmkiln.errors import InputError
from vmkiln.fetching.server_rule import NamedBy, ServerRule, is_name_of, literal_of, read_servers
from vmkiln.settings import Settings


@dataclass(frozen=True)
class WayOut:
    """Proxies for http and for https ('' for none), names and networks that go past them, more authorities (PEM)."""

    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: tuple[str, ...] = ()
    ca_bundle: Path | None = None

    def proxy_for(self, scheme: str, host: str, port: int) -> str:
        """The proxy for a server; '' for none."""
        proxy = self.https_proxy if scheme == "https" else self.http_proxy
        return "" if any(is_past_proxy(entry, host, port) for entry in self.no_proxy) else proxy


STRAIGHT = WayOut()


def way_out_of(settings: Settings) -> WayOut:
    """The way out that the settings name; pure."""
    words = tuple(word for word in re.split(r"[,\s]+", settings.no_proxy) if word)
    return WayOut(settings.http_proxy, settings.https_proxy, words, settings.ca_bundle)


def rule_of(settings: Settings, named_by: NamedBy) -> ServerRule:
    """The rule for what somebody named, with the private servers that the operator allows. Raises: `InputError`."""
    return ServerRule(named_by, read_servers(settings.private_servers))


def is_past_proxy(entry: str, host: str, port: int) -> bool:
    """Whether an entry of `no_proxy` means a server: `*`, a name with all below it, an address, a network; pure."""
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and "]" not in number and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        entry = name
    if entry == "*":
        return True
    if (address := literal_of(host)) is not None:
        try:
            network = ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            return False
        return network.version == address.version and address in network
    pattern = entry.lower().removeprefix("*").removeprefix(".")
    return is_name_of(pattern, host) or is_name_of(f"*.{pattern}", host)


def trusted(way_out: WayOut) -> ssl.SSLContext:
    """The authorities of this machine (`SSL_CERT_FILE` and `SSL_CERT_DIR` among them), and those of `ca_bundle`.

    A machine without authorities of its own has the ones that come with our libraries. Reads files.
    Raises: `InputError` for a bundle without certificates.
    """
    places = ssl.get_default_verify_paths()
    has_own = places.cafile or (places.capath and any(Path(places.capath).iterdir()))
    context = ssl.create_default_context() if has_own else httpx.create_ssl_context(trust_env=False)
    if way_out.ca_bundle is not None:
        try:
            context.load_verify_locations(way_out.ca_bundle)
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"ca_bundle: {way_out.ca_bundle} has no certificates that can be read",
                hint="PEM, one behind the other",
            ) from error
    return context


def environment_of(way_out: WayOut, environment: Mapping[str, str]) -> dict[str, str]:
    """The same environment with this way out in it, for a program that fetches; pure."""
    named = {
        "http_proxy": way_out.http_proxy,
        "https_proxy": way_out.https_proxy,
        "no_proxy": ",".join(way_out.no_proxy),
    }
    given = {name: value for name, value in named.items() if value}
    kept = {name: value for name, value in environment.items() if name.lower() not in given}
    bundle = {"NODE_EXTRA_CA_CERTS": str(way_out.ca_bundle)} if way_out.ca_bundle else {}
    return {**kept, **given, **bundle}


def shown_proxy(proxy: str) -> str:
    """A proxy without the login in it; pure."""
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
