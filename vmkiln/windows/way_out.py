"""The proxy and the authorities of a build's way out, as a Windows VM is told of them by its answer disc; pure.

What a Windows is told lies on its disk while it is built, and is taken back at the end; so a proxy with a password is
not told, nor one that is spoken to by TLS, which Windows does not do.
Sources: Microsoft, "netsh winhttp" (bypass-list) and "ProxySettingsPerUser"; curl(1), "NO_PROXY".
"""

import base64
import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vmkiln.errors import InputError
from vmkiln.fetching.guest_way_out import GuestWayOut, proxy_server

HERE = "localhost,127.0.0.1"
LOCAL = "<local>"  # a name without a point, in Windows' words
BITS_OF_OCTET, OCTETS = 8, 4


def why_untold(way_out: GuestWayOut) -> str:
    """Why a Windows VM is not told of the proxy; '' when it is, or there is none."""
    parts = urlsplit(way_out.proxy)
    if "@" in parts.netloc:
        return "its proxy has a password, and what Windows keeps of a proxy lies on the disk of the VM"
    return "Windows does not speak TLS to a proxy" if parts.scheme == "https" else ""


def told(way_out: GuestWayOut) -> Mapping[str, Any]:
    """What `run.json` says of the way out: the proxy, none where there is none to tell, and the authorities (DER).

    Raises: `InputError` for an authority that is no certificate.
    """
    found: dict[str, Any] = {"proxy": None, "authorities": []}
    if way_out.proxy and not why_untold(way_out):
        host, port = proxy_server(way_out)
        found["proxy"] = {
            "server": f"{host}:{port}",
            "address": f"http://{host}:{port}",
            "past": ",".join(word for word in (HERE, way_out.no_proxy) if word),
            "bypass": bypass_of(way_out.no_proxy),
        }
    if way_out.authorities:
        try:
            certificates = x509.load_pem_x509_certificates(way_out.authorities.encode())
        except ValueError as error:
            raise InputError("guest_ca_bundle: it has what is no certificate", hint="certificates (PEM)") from error
        found["authorities"] = [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in certificates]
    return found


def bypass_of(no_proxy: str) -> str:
    """`no_proxy` as Windows writes it: `*` for any letters, a domain with what is below it, `;` between."""
    found = [LOCAL, "127.*"]
    for word in (word.strip() for word in no_proxy.split(",")):
        found += _patterns(word)
    return ";".join(dict.fromkeys(found))


def _patterns(word: str) -> list[str]:
    """What names the same servers; whole octets of a network, for Windows knows no other."""
    if not word or word == "*":
        return [word] if word else []
    try:
        network = ipaddress.IPv4Network(word, strict=False)
    except ValueError:
        domain = word.removeprefix("*").removeprefix(".")
        return [domain, f"*.{domain}"]
    whole = -(-network.prefixlen // BITS_OF_OCTET)
    found = []
    for part in network.subnets(new_prefix=whole * BITS_OF_OCTET):
        octets = str(part.network_address).split(".")[:whole]
        found.append(".".join(octets if whole == len(octets) == OCTETS else [*octets, "*"]))
    return found
