"""Asks for the portal's pages as a browser would, without one."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
from in_process import BASE, TEMPLATE, InProcess, a_template, add_group, ended_run, provisioned
from starlette.types import ASGIApp

from vmkiln.portal.session import COOKIE


@dataclass
class Visitor:
    """Asks for pages as a browser would, cookie and all, without a socket."""

    app: ASGIApp
    token: str = "owner"
    headers: dict[str, str] = field(default_factory=lambda: {"Origin": BASE, "Sec-Fetch-Site": "same-origin"})
    cookies: dict[str, str] = field(default_factory=dict)  # besides the session's

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            cookies = {**self.cookies, **({COOKIE: self.token} if self.token else {})}
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


def run_page(living: InProcess, *commands: str) -> str:
    """The address of the page of an ended run with these commands."""
    add_group(living)
    provisioned(living, TEMPLATE, a_template(*commands))
    living.request("POST", f"{TEMPLATE}/run")
    ended_run(living, TEMPLATE)
    runs = living.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").json()["value"]
    return f"/portal{runs[0]['id']}"
