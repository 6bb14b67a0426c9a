"""What a run's request gains by the guests' proxy: leave to reach it, and its password masked."""

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from vmkiln.errors import HostUnfit, InputError
from vmkiln.fetching.guest_way_out import STRAIGHT_OUT
from vmkiln.host.egress.egress_policy import OPEN_EGRESS
from vmkiln.host.egress.policy_text import read_policy
from vmkiln.host.network.network_namespace import Allowance
from vmkiln.run.building import with_way_out
from vmkiln.run.run_context import RunRequest
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.settings import Settings
from vmkiln.staging.local_files import NO_LOCAL_FILES


async def test_guests_may_reach_their_proxy_and_its_password_is_masked(tmp_path: Path) -> None:
    template: Any = None
    request = RunRequest("id", "web", "rg", template, {}, NO_LOCAL_FILES, mask=SecretMask.of(["hunter22"]))
    assert await with_way_out(Settings(tmp_path), request, OPEN_EGRESS) == (STRAIGHT_OUT, request)
    settings = Settings(tmp_path, guest_proxy="http://me:geheimwort@10.1.2.3:3128")
    way_out, found = await with_way_out(settings, request, OPEN_EGRESS)
    assert way_out.proxy == settings.guest_proxy
    assert found.allowances == (Allowance(IPv4Network("10.1.2.3/32"), 3128),)
    assert found.mask("geheimwort hunter22") == "*** ***"
    nowhere = Settings(tmp_path, guest_proxy="http://nobody-has-this-name.invalid:3128")
    with pytest.raises(HostUnfit, match="nobody-has-this-name"):
        await with_way_out(nowhere, request, OPEN_EGRESS)


async def test_a_proxy_does_not_open_a_build_that_is_closed(tmp_path: Path) -> None:
    template: Any = None
    request = RunRequest("id", "web", "rg", template, {}, NO_LOCAL_FILES)
    settings = Settings(tmp_path, guest_proxy="http://10.1.2.3:3128")
    for text in ("none", "a.example:443"):
        closed, _ = read_policy(text)
        with pytest.raises(InputError, match="guest_proxy"):
            await with_way_out(settings, request, closed)
        assert (await with_way_out(Settings(tmp_path), request, closed))[0] == STRAIGHT_OUT
