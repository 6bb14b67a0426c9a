"""Who is told what: read from the settings, checked before the service begins; pure.

The secrets stay in their files, which are read when something is sent: whoever changes one starts nothing anew.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from vmkiln.errors import InputError
from vmkiln.notice.cloud_event import Kind
from vmkiln.notice.signature import secrets_of
from vmkiln.settings import Settings

MOST_ADDRESSEES = 50
PORTS = {"smtp": 587, "smtps": 465}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
CHOICES = tuple(kind for kind in Kind if kind is not Kind.TEST)
MAIL_HINT = "smtp://[USER@]HOST[:PORT] (STARTTLS, port 587) or smtps://[USER@]HOST[:PORT] (TLS, port 465)"
_ADDRESS = re.compile(r"[^\s@<>,;:\\\"()\[\]]{1,64}@[A-Za-z0-9.-]{1,255}")


class Receiver(StrEnum):
    """Which way a notice goes."""

    WEBHOOK = "webhook"
    MAIL = "mail"


@dataclass(frozen=True)
class Webhook:
    """A web address that is sent CloudEvents; the address may be as good as a password."""

    url: str = field(repr=False)
    secret_file: Path


@dataclass(frozen=True)
class MailServer:
    """A mail server, and from whom to whom. `is_tls_first` is TLS from the first byte, else STARTTLS."""

    host: str
    port: int
    is_tls_first: bool
    sender: str
    addressees: tuple[str, ...]
    user: str = ""
    password_file: Path | None = None

    @property
    def may_be_plain(self) -> bool:
        """Whether it may do without TLS: only one of this machine, which is sent no password."""
        return self.host in LOOPBACK and not self.user and not self.is_tls_first


@dataclass(frozen=True)
class Receivers:
    """All who are told, and what."""

    webhook: Webhook | None = None
    mail: MailServer | None = None
    kinds: frozenset[Kind] = frozenset(CHOICES)

    @property
    def names(self) -> tuple[Receiver, ...]:
        """Those there are."""
        found = {Receiver.WEBHOOK: self.webhook, Receiver.MAIL: self.mail}
        return tuple(name for name, one in found.items() if one is not None)


def receivers_of(settings: Settings) -> Receivers:
    """The receivers that the settings name. Raises: `InputError`, which names the setting, and no secret of it."""
    return Receivers(_webhook(settings), _mail(settings), _kinds(settings.notice_events))


def _kinds(text: str) -> frozenset[Kind]:
    words = {word for word in re.split(r"[,\s]+", text) if word}
    if wrong := sorted(words - set(CHOICES)):
        raise InputError(f"notice_events: `{wrong[0][:40]}` is no event", hint=f"with commas: {', '.join(CHOICES)}")
    return frozenset(Kind(word) for word in words)


def _webhook(settings: Settings) -> Webhook | None:
    url, secret = settings.notice_webhook, settings.notice_webhook_secret_file
    if not url:
        return None
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or parts.fragment or "@" in parts.netloc:
        raise InputError("notice_webhook is no web address", hint="such as https://hooks.example.com/vmkiln")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise InputError("notice_webhook goes over the network without TLS", hint="give an address with https")
    if secret is None:
        raise InputError(
            "notice_webhook_secret_file is not set, and notice_webhook is",
            hint="a file with a secret that the receiver has too: `openssl rand -base64 32`",
        )
    return Webhook(url, secret)


def _mail(settings: Settings) -> MailServer | None:
    if not settings.notice_mail_server:
        return None
    try:
        parts = urlsplit(settings.notice_mail_server)
        host, port, user = parts.hostname or "", parts.port, unquote(parts.username or "")
    except ValueError:
        _no_server()
    if parts.scheme not in PORTS or not host or port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        _no_server()
    if parts.password is not None:
        raise InputError("notice_mail_server has a password", hint="give it in notice_mail_password_file")
    if bool(user) != (settings.notice_mail_password_file is not None):
        raise InputError("a user in notice_mail_server and notice_mail_password_file go together", hint=MAIL_HINT)
    senders = _addresses("notice_mail_from", settings.notice_mail_from)
    if len(senders) > 1:
        raise InputError("notice_mail_from has more than one address")
    return MailServer(
        host,
        port or PORTS[parts.scheme],
        parts.scheme == "smtps",
        senders[0],
        _addresses("notice_mail_to", settings.notice_mail_to),
        user,
        settings.notice_mail_password_file,
    )


def _no_server() -> NoReturn:
    raise InputError("notice_mail_server is no mail server", hint=MAIL_HINT)


def _addresses(name: str, text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not 1 <= len(words) <= MOST_ADDRESSEES:
        raise InputError(f"{name} has {len(words)} addresses; 1 to {MOST_ADDRESSEES} are taken")
    if wrong := [word for word in words if not (word.isascii() and _ADDRESS.fullmatch(word))]:
        raise InputError(f"{name}: `{wrong[0][:80]}` is no address", hint="such as builds@example.com, with commas")
    return words


def read_secrets(webhook: Webhook) -> tuple[bytes, ...]:
    """The secrets of a webhook, from their file. Reads. Raises: `InputError`."""
    return secrets_of(_read("notice_webhook_secret_file", webhook.secret_file))


def read_password(server: MailServer) -> str:
    """The password for a mail server, '' for none. Reads. Raises: `InputError`."""
    if server.password_file is None:
        return ""
    return _read("notice_mail_password_file", server.password_file).rstrip("\r\n")


def _read(name: str, path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{name}: {path} cannot be read: {reason}") from error
