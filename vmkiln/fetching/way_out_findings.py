"""What `vmkiln doctor` tells of proxies, authorities and private servers: what is set, and what of it cannot work.

Reads the bundles and looks names up; nothing is fetched. Logins of proxies are not told.
"""

import socket
from collections.abc import Callable, Iterator

from vmkiln.errors import VmkilnError
from vmkiln.fetching.guest_way_out import allowances, guest_way_out_of, proxy_server
from vmkiln.fetching.looked_up import LookedUp, looked_up
from vmkiln.fetching.server_rule import read_servers
from vmkiln.fetching.way_out import shown_proxy, trusted, way_out_of
from vmkiln.host.doctor.fitness import Finding, Status
from vmkiln.settings import Settings

NAME, GUESTS = "proxies and authorities", "the same of build VMs"
LookUp = Callable[[str, int], LookedUp]


def way_out_findings(settings: Settings, *, look_up: LookUp = looked_up) -> Iterator[Finding]:
    """One finding for this machine, and one for its guests; none where nothing is set."""
    try:
        trusted(way_out_of(settings))
        servers = read_servers(settings.private_servers)
    except VmkilnError as error:
        yield Finding(NAME, Status.FAILED, error.message, error.hint)
    else:
        proxies = [(name, getattr(settings, name)) for name in ("http_proxy", "https_proxy")]
        told = [f"{name} {shown_proxy(proxy)}" for name, proxy in proxies if proxy]
        told += [f"ca_bundle {settings.ca_bundle}"] if settings.ca_bundle else []
        told += [f"{len(servers)} private servers that callers may name"] if servers else []
        if told:
            yield Finding(NAME, Status.OK, ", ".join(told))
    try:
        way_out = guest_way_out_of(settings)
        if way_out.proxy:
            allowances(way_out, _found(*proxy_server(way_out), look_up))
    except VmkilnError as error:
        yield Finding(GUESTS, Status.FAILED, error.message, error.hint)
    else:
        told = [f"guest_proxy {shown_proxy(way_out.proxy)}"] if way_out.proxy else []
        told += [f"guest_ca_bundle {settings.guest_ca_bundle}"] if settings.guest_ca_bundle else []
        if told:
            yield Finding(GUESTS, Status.OK, ", ".join(told))


def _found(host: str, port: int, look_up: LookUp) -> LookedUp | None:
    try:
        return look_up(host, port)
    except (socket.gaierror, OSError, UnicodeError):
        return None
