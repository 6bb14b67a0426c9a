"""The ARM functions on the parts of an address: parseUri and buildUri.

Bicep's reference names their members (`scheme`, `host`, `port`, `path`, `query`) and does not show what they give; here
they are those of .NET's Uri and UriBuilder, which Azure's are made of: a port that is not written is the scheme's own
and is left out again, and a query has its `?`.
"""

import re
from typing import Any
from urllib.parse import urlsplit

from vmkiln.arm_template.budget import Arguments
from vmkiln.arm_template.values import Function, kind_of, member, needs_int, needs_string

_PORTS = {"http": 80, "https": 443, "ftp": 21, "sftp": 22, "ssh": 22, "ldap": 389, "ws": 80, "wss": 443}
_MEMBERS = ("scheme", "host", "port", "path", "query")
LAST_PORT = 65_535


def _parsed(arguments: Arguments) -> dict[str, Any]:
    text = needs_string(arguments[0], "the address")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"`{text[:80]}` is not a well-formed address") from None
    if not parts.scheme or not parts.hostname:
        raise ValueError(f"`{text[:80]}` is not an address such as https://example.com/folder?a=b")
    found: dict[str, Any] = {"scheme": parts.scheme, "host": _with_brackets(parts.hostname)}
    if (port := port if port is not None else _PORTS.get(parts.scheme)) is not None:
        found["port"] = port
    return {**found, "path": parts.path or "/", "query": f"?{parts.query}" if parts.query else ""}


def _built(arguments: Arguments) -> str:
    given = arguments[0]
    if not isinstance(given, dict):
        raise ValueError(f"expected an object with `scheme` and `host`, not {kind_of(given)}")
    if unknown := [name for name in given if name.lower() not in _MEMBERS]:
        raise ValueError(f"`{unknown[0][:80]}` is no part of an address: there are {', '.join(_MEMBERS)}")
    scheme = needs_string(member(given, "scheme"), "`scheme`").lower()
    host = _with_brackets(needs_string(member(given, "host"), "`host`"))
    path, query = (needs_string(member(given, name) or "", f"`{name}`") for name in ("path", "query"))
    if not re.fullmatch(r"[a-z][a-z0-9+.\-]{0,80}", scheme) or not host or re.search(r"[/?#@\s]", host):
        raise ValueError("`scheme` and `host` must be those of an address, such as https and example.com")
    port = member(given, "port")
    if port is not None and not 0 <= needs_int(port, "`port`") <= LAST_PORT:
        raise ValueError(f"`port` must be from 0 to {LAST_PORT}")
    shown = "" if port is None or port == _PORTS.get(scheme) else f":{port}"
    query = query.removeprefix("?")
    return f"{scheme}://{host}{shown}/{path.removeprefix('/')}{f'?{query}' if query else ''}"


def _with_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


URI_FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "builduri": (1, 1, _built),
    "parseuri": (1, 1, _parsed),
}
