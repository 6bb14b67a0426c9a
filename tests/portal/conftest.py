"""Fixtures of the portal's tests: the service of the API's tests, with its pages in front."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from in_process import BASE, Service
from service_fixtures import access, living
from starlette.types import ASGIApp

from vmkiln.portal.application import with_portal
from vmkiln.portal.session import COOKIE

__all__ = ["access", "living"]


@dataclass
class Browser:
    """Asks for pages as a browser would, cookie and all, without a socket."""

    app: ASGIApp
    token: str = "owner"
    headers: dict[str, str] = field(default_factory=lambda: {"Origin": BASE, "Sec-Fetch-Site": "same-origin"})

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            cookies = {COOKIE: self.token} if self.token else {}
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url=BASE, headers=self.headers, cookies=cookies
            ) as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def send(self, path: str, **fields: str) -> httpx.Response:
        return self.request("POST", path, data=fields)


@pytest.fixture
def browser(living: Service) -> Browser:
    """A browser of the subscription's owner."""
    return Browser(with_portal(living.app))
