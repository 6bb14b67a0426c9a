"""Texts of settings that are more than texts: addresses of stores and of proxies, lists of ports; pure."""

from urllib.parse import urlsplit

from vmkiln.errors import InputError

LAST_PORT = 65535
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
OBJECT_STORE_HINT = "az://CONTAINER, s3://BUCKET/PREFIX, or file:///a/directory/that/all/hosts/mount"


def checked_object_store(url: str) -> str:
    """The address of an object store as it was given, '' for none; pure. Raises: `InputError`, without what it says."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InputError("VMKILN_OBJECT_STORE is no URL", hint=OBJECT_STORE_HINT) from error
    if url.startswith(("/", ".", "~")):
        hint = "a directory is given as file:///mnt/shared, with three slashes"
        raise InputError("VMKILN_OBJECT_STORE is a path, and no URL", hint=hint)
    if parts.scheme not in {"az", "s3", "file"}:
        raise InputError("VMKILN_OBJECT_STORE names no kind of store that is known here", hint=OBJECT_STORE_HINT)
    if parts.query or parts.fragment or "@" in parts.netloc:
        hint = "keys and endpoints are given by AZURE_STORAGE_... and AWS_..., never in the URL"
        raise InputError("VMKILN_OBJECT_STORE has more than a name and a path", hint=hint)
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/") or ".." in parts.path.split("/"):
            raise InputError("VMKILN_OBJECT_STORE names no directory", hint="file:///mnt/shared, with three slashes")
    elif not parts.netloc or ".." in parts.path.split("/"):
        raise InputError("VMKILN_OBJECT_STORE names no container or bucket", hint=OBJECT_STORE_HINT)
    return url


def ports_of(text: str) -> tuple[int, ...]:
    """The ports in a list with commas, in their order; pure. Raises: `InputError`."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    wrong = [word for word in words if not (word.isascii() and word.isdecimal() and 0 < int(word[:6]) <= LAST_PORT)]
    if wrong:
        raise InputError(
            f"VMKILN_EGRESS_CLOSED_PORTS has no port in `{wrong[0][:20]}`", hint="such as 25, or 25,465,587"
        )
    return tuple(sorted({int(word) for word in words}))


def check_proxy(name: str, proxy: str) -> None:
    """Refuse what is no proxy; pure. Raises: `InputError`, without what it says, which may be a password."""
    try:
        parts = urlsplit(proxy)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if proxy and (not is_one or parts.path not in {"", "/"} or parts.query or parts.fragment):
        raise InputError(f"{name} is no proxy", hint="such as http://proxy.corp.example:3128")


def check_service_url(url: str) -> None:
    """Refuse what is no address of a service; pure. Raises: `InputError`."""
    try:
        parts = urlsplit(url)
        is_one = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        is_one = False
    if url and (not is_one or parts.query or parts.fragment):
        raise InputError("service_url is no address of a service", hint="such as https://kiln.example.net:8443")


def check_login(issuer: str, client_id: str, *, has_secret: bool) -> None:
    """Refuse half of what a login at an issuer needs, and what is no issuer; pure. Raises: `InputError`."""
    if bool(issuer) != bool(client_id) or (has_secret and not issuer):
        raise InputError("login_issuer and login_client_id go together; one of them is not set")
    try:
        parts = urlsplit(issuer)
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        is_one = is_safe and bool(parts.hostname) and parts.port != 0 and not parts.username
    except ValueError:
        is_one = False
    if issuer and (not is_one or parts.query or parts.fragment):
        raise InputError("login_issuer is no issuer", hint="such as https://login.example.com/realms/people")
