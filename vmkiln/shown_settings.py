"""What may be shown of the settings, and what must not be shown of them; pure."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from vmkiln.secrecy.secret_mask import MASK
from vmkiln.secrecy.secret_shapes import HARMLESS_PARAMETERS, SECRET_NAME, shown_url, without_secrets
from vmkiln.settings import Declared, Settings

# texts that may be shown; as URLs, too, but for who logs in and for unknown parameters
HARMLESS = frozenset(
    {"object_store", "oidc_issuer", "oidc_audience", "listen", "host_name", "region", "no_proxy"}
    | {"private_servers", "guest_no_proxy", "egress", "egress_closed_ports"}
)
NAMES_SETS = frozenset({"egress"})  # by an at sign, which in other texts may stand before a host and after a secret
_PLAIN_URL = re.compile(r"[a-z][a-z0-9+.-]*://(?:\*\*\*@)?[\w.,:\[\]-]*(?:/[\w./~ %+-]*)?(?:[?#]\S*)?", re.IGNORECASE)


def shown(declared: Declared, value: Any) -> str | int | float | bool | None:
    """A setting's value as it may be shown to anybody; pure.

    Texts are masked but for those that are known to be harmless, and of a URL the parts that are.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    if not text or isinstance(value, Path | StrEnum):
        return text
    if "://" in text:
        url = shown_url(text)
        return url if _PLAIN_URL.fullmatch(url) else MASK
    is_plain = "@" not in text or declared.name in NAMES_SETS
    return text if declared.name in HARMLESS and is_plain and without_secrets(text) == text else MASK


def secrets_of(settings: Settings) -> frozenset[str]:
    """What must not be shown of these settings: secrets whole, and the pieces of them that are secret alone; pure."""
    found = {settings.database_url, settings.blob_connection_string}
    for piece in settings.blob_connection_string.split(";"):
        name, _, value = piece.partition("=")
        if SECRET_NAME.search(name):
            found.add(value)
    for proxy in (settings.http_proxy, settings.https_proxy, settings.guest_proxy):
        password = proxy.partition("://")[2].rpartition("@")[0].partition(":")[2]
        found |= {password, unquote(password)}
    try:
        parts = urlsplit(settings.database_url)
        found |= {value for name, value in parse_qsl(parts.query) if name.lower() not in HARMLESS_PARAMETERS}
        login = settings.database_url.partition("://")[2].rpartition("@")[0]
        user, _, password = login.partition(":")
        found |= {password or user, unquote(password or user)}  # a token may stand in the place of a user
    except ValueError:
        pass
    return frozenset(found - {""})
