"""What the host that holds a failed VM is asked: to let one visitor in, and where it meets them.

It lies in the database for a minute at most, sealed with the installation's key, for it has the token that lets the
host in at the service.
"""

import ssl
from dataclasses import asdict, dataclass, field
from typing import Any

from vmkiln.errors import InputError
from vmkiln.sealing.seal import Seal

SHELLS = "/providers/Vmkiln.Builds/shells"


@dataclass(frozen=True)
class Meeting:
    """Where a service is reached by its hosts, and the authority (PEM) that they trust it by.

    `name` is what its certificate is for, '' for the URL's. `is_public` says that the operator named the URL: then the
    system's authorities are trusted, too, for a proxy may stand before the service.
    """

    url: str
    authority: str = ""
    name: str = ""
    is_public: bool = False


@dataclass(frozen=True)
class Order:
    """One visit: of whose VM, where its visitor waits, what lets the host in there, what its key is sealed with."""

    shell_id: str
    run_id: str
    meeting: Meeting
    token: str = field(repr=False)
    public_key: str

    @property
    def path(self) -> str:
        """Where at the service the visit is."""
        return path_of(self.shell_id)


def path_of(shell_id: str) -> str:
    """Where at a service a shell is; pure."""
    return f"{SHELLS}/{shell_id}"


def sealed(order: Order, seal: Seal) -> str:
    """The order as it lies in the database. Raises: `KeyUnavailable`, `StorageFailed`."""
    return seal.sealed(asdict(order), place=_place(order.shell_id))


def opened(shell_id: str, text: str, seal: Seal) -> Order:
    """The order that was sealed. Raises: `KeyUnavailable`; `InputError` when another release wrote it."""
    found: Any = seal.opened(text, place=_place(shell_id))
    try:
        return Order(**{**found, "meeting": Meeting(**found["meeting"])})
    except (TypeError, KeyError) as error:
        raise InputError("a shell was asked for by another release of vmkiln") from error


def trust_of(meeting: Meeting) -> ssl.SSLContext:
    """What a host trusts the service by: its own authority alone, unless the operator named where it is.

    Raises: `InputError` when the authority is none.
    """
    is_alone = meeting.authority and not meeting.is_public
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_alone else ssl.create_default_context()
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # one that was given in place of ours is an anchor
    try:
        if meeting.authority:
            found.load_verify_locations(cadata=meeting.authority)
    except (ssl.SSLError, ValueError) as error:
        raise InputError("the authority of the service is not a certificate in PEM") from error
    return found


def _place(shell_id: str) -> str:
    return f"shell {shell_id}"
