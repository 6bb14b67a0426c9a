"""What is worked out for somebody whom nobody knows yet holds no thread of those who have logged in."""

import threading
from typing import Any, cast

import httpx
import pytest

from vmkiln.api.protocol.application import application
from vmkiln.api.protocol.dispatcher import CORRELATION, REQUEST, Dispatcher, Request
from vmkiln.api.protocol.route import Answer, Service
from vmkiln.waiting.off_loop import LOGINS

LOGIN = "/providers/Vmkiln.Builds/logins"


class _Threads(Dispatcher):
    """Answers with the name of the thread that it is asked in."""

    def __init__(self) -> None:
        pass

    def answer(self, service: Service, request: Request) -> Answer:  # noqa: ARG002
        return Answer(200, threading.current_thread().name, {REQUEST: "", CORRELATION: ""})


@pytest.mark.parametrize(
    ("method", "path", "is_login"),
    [
        ("POST", "/common/oauth2/v2.0/token", True),
        ("POST", "//common/OAuth2//token/", True),
        ("POST", f"{LOGIN}/redeem", True),
        ("POST", f"/{LOGIN}/redeem//", True),
        ("GET", f"{LOGIN}/address?state=x", True),
        ("GET", LOGIN, False),
        ("PUT", "/common/oauth2/token", False),
        ("POST", "/subscriptions", False),
    ],
)
async def test_a_login_has_a_thread_of_its_own(method: str, path: str, is_login: bool) -> None:
    transport = httpx.ASGITransport(application(cast("Any", None), _Threads()))
    async with httpx.AsyncClient(transport=transport, base_url="https://vmkiln.example") as client:
        answer = await client.request(method, f"https://vmkiln.example{path}")
    assert answer.text.startswith(LOGINS) == is_login
