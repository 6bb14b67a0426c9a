"""Sends an event as an e-mail, over TLS, in a thread of its own that has a deadline.

*Leaves behind:* nothing; a server that talks on after the deadline has its connection cut.
"""

import asyncio
import contextlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from vmkiln.fetching.way_out import trusted, way_out_of
from vmkiln.harmless_text import harmless
from vmkiln.notice.cloud_event import TYPES, Kind
from vmkiln.notice.receivers import MailServer, read_password
from vmkiln.notice.webhook import NotSent
from vmkiln.settings import Settings

MAIL_SECONDS = 60.0  # for all of it
SILENCE_SECONDS = 20.0
MOST_SUBJECT_LETTERS = 150
NAMES = {
    "template": "Template",
    "templateId": "Template id",
    "resourceGroup": "Resource group",
    "runId": "Run",
    "state": "State",
    "code": "Code",
    "message": "Message",
    "reason": "Reason",
    "output": "Output",
    "artifactId": "Image",
    "started": "Started",
    "ended": "Ended",
}


def message_of(event: Mapping[str, Any], *, sender: str, addressees: tuple[str, ...]) -> EmailMessage:
    """An event for people; pure. Its `Message-ID` is the event's, so that one that comes twice is known by it."""
    data = event["data"]
    message = EmailMessage()
    message["Subject"] = harmless(_subject(event))[:MOST_SUBJECT_LETTERS]
    message["From"] = sender
    message["To"] = ", ".join(addressees)
    message["Date"] = format_datetime(datetime.fromisoformat(event["time"]))
    message["Message-ID"] = f"<{event['id']}@{sender.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no robot answers it
    lines = [f"{name}: {harmless(str(data[key]))}" for key, name in NAMES.items() if data.get(key)]
    lines += [f"Output {one['name']}: {one['state']} {one['artifactId']}" for one in data.get("outputs", ())]
    message.set_content("\n".join(lines) + "\n")
    return message


def _subject(event: Mapping[str, Any]) -> str:
    data = event["data"]
    subjects = {
        TYPES[Kind.RUN_ENDED]: "vmkiln: {template}: run {state}",
        TYPES[Kind.IMAGE_PUBLISHED]: "vmkiln: {template}: image {output} published",
        TYPES[Kind.TEMPLATE_SUSPENDED]: "vmkiln: {template}: automatic builds are suspended",
    }
    return subjects.get(event["type"], "vmkiln: a test").format_map(data)


class _Plain(smtplib.SMTP):
    """A connection that is known to `begun` before it is made, so that it can be cut at any time."""

    def __init__(self, begun: Callable[[smtplib.SMTP], None], host: str, port: int) -> None:
        begun(self)
        super().__init__(host, port, timeout=SILENCE_SECONDS)


class _Tls(smtplib.SMTP_SSL):
    """The same, with TLS from its first byte."""

    def __init__(self, begun: Callable[[smtplib.SMTP], None], host: str, port: int, *, context: ssl.SSLContext) -> None:
        begun(self)
        super().__init__(host, port, timeout=SILENCE_SECONDS, context=context)


class _Sending:
    """One e-mail on its way in a thread. `cut` ends the connection, and with it the thread."""

    def __init__(self, settings: Settings, server: MailServer, message: EmailMessage) -> None:
        self._settings = settings
        self._server = server
        self._message = message
        self._is_cut = False
        self._client: smtplib.SMTP | None = None
        self.result: Future[None] = Future()

    def run(self) -> None:
        try:
            self._send()
        except BaseException as error:
            self.result.set_exception(error)
        else:
            self.result.set_result(None)

    def _send(self) -> None:
        server = self._server
        password = read_password(server)
        context = trusted(way_out_of(self._settings))
        with self._connected(context) as client:
            if self._is_cut:
                return
            client.ehlo_or_helo_if_needed()
            if not server.is_tls_first and (client.has_extn("starttls") or not server.may_be_plain):
                client.starttls(context=context)
            if server.user:
                client.login(server.user, password)
            client.send_message(self._message)

    def _connected(self, context: ssl.SSLContext) -> smtplib.SMTP:
        server = self._server
        if server.is_tls_first:
            return _Tls(self._begun, server.host, server.port, context=context)
        return _Plain(self._begun, server.host, server.port)

    def _begun(self, client: smtplib.SMTP) -> None:
        self._client = client

    def cut(self) -> None:
        """End it, from another thread."""
        self._is_cut = True
        if (client := self._client) is not None and (line := client.sock) is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


async def send_by_mail(
    settings: Settings, server: MailServer, event: Mapping[str, Any], *, seconds: float = MAIL_SECONDS
) -> None:
    """Send one event. Raises: `NotSent`; `InputError` for a password's file that cannot be read."""
    message = message_of(event, sender=server.sender, addressees=server.addressees)
    sending = _Sending(settings, server, message)
    threading.Thread(target=sending.run, name="notice-mail", daemon=True).start()
    answer = asyncio.wrap_future(sending.result)
    try:
        await asyncio.wait_for(asyncio.shield(answer), seconds)
    except TimeoutError as error:
        raise NotSent("the mail server did not answer in time") from error
    except smtplib.SMTPException as error:
        raise NotSent(f"the mail server did not take it: {_why(error)}") from error
    except OSError as error:
        raise NotSent(f"the mail server was not reached: {error.strerror or type(error).__name__}") from error
    except ValueError:  # without its text, and not as its cause: it has a letter of what was to be sent
        raise NotSent("the mail server's user or password has letters that are no ASCII") from None
    finally:
        if not answer.done():
            sending.cut()
            answer.add_done_callback(lambda found: found.cancelled() or found.exception())


def _why(error: smtplib.SMTPException) -> str:
    """Without what the server says: it may repeat a name or more of a login."""
    match error:
        case smtplib.SMTPAuthenticationError():
            return "it refused the login"
        case smtplib.SMTPResponseException():
            return f"it answered {error.smtp_code}"
        case smtplib.SMTPRecipientsRefused():
            return "it takes no e-mail for any of notice_mail_to"
        case smtplib.SMTPNotSupportedError():
            return "it has no STARTTLS, or no login that is known here"
        case _:
            return type(error).__name__
