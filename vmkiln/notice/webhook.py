"""Sends an event to a web address, through the one checked fetcher.

The operator named the address, so it may be a private one, but no cloud's metadata. No redirect is followed: what was
signed for one receiver goes to no other.

*Leaves behind:* nothing.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx

from vmkiln.errors import VmkilnError
from vmkiln.fetching.http_fetch import cause_of, connected, posted
from vmkiln.fetching.server_rule import NamedBy
from vmkiln.fetching.way_out import rule_of, way_out_of
from vmkiln.notice.cloud_event import CONTENT_TYPE, body_of
from vmkiln.notice.receivers import Webhook, read_secrets
from vmkiln.notice.signature import signed_headers
from vmkiln.settings import Settings
from vmkiln.waiting.off_loop import in_round

WEBHOOK_SECONDS = 20.0  # for all of it
GONE = 410


class NotSent(VmkilnError):
    """A notice could not be sent; `is_final` says that the receiver wants no more of it."""

    code = "NoticeNotSent"

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


async def send_to_webhook(settings: Settings, webhook: Webhook, event: Mapping[str, Any]) -> None:
    """Send one event. Raises: `NotSent`, without the address; `InputError` for a bad file of secrets."""
    secrets = await in_round(read_secrets, webhook)
    body = body_of(event)
    headers = {
        "Content-Type": CONTENT_TYPE,
        "User-Agent": "vmkiln",
        **signed_headers(secrets, str(event["id"]), int(time.time()), body),
    }
    rule, way_out = rule_of(settings, NamedBy.USER), way_out_of(settings)
    try:
        async with asyncio.timeout(WEBHOOK_SECONDS), connected(way_out, rule) as client:
            status = await posted(client, webhook.url, body, headers)
    except TimeoutError as error:
        raise NotSent(f"the webhook did not answer within {WEBHOOK_SECONDS:.0f} s") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        cause, _ = cause_of(error)
        raise NotSent(f"the webhook was not reached: {cause}") from error
    if not httpx.codes.is_success(status):
        told = "with a redirect, which is not followed" if httpx.codes.is_redirect(status) else f"{status}"
        raise NotSent(f"the webhook answered {told}", is_final=status == GONE)
