"""What an operator sets is what happens: each number of the settings changes what it says it changes."""

import ast
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import jwt
import pytest
from in_process import an_issuer

from vmkiln import preparation
from vmkiln.buildable.egress_choice import decided_egress
from vmkiln.errors import HostUnfit, InputError
from vmkiln.host.egress.egress_policy import OPEN_EGRESS
from vmkiln.platform_images.catalogue_entry import DebianEntry
from vmkiln.platform_images.image_cache import SourceImage
from vmkiln.platform_images.image_reference import Action, PlatformImageReference, recipe_of, resolve
from vmkiln.preparation import host_capacity, prepared_host
from vmkiln.run.cleaning_up import end_leftovers
from vmkiln.run.vm_shape import GIB, decide_shape
from vmkiln.run_state import RunState
from vmkiln.settings import Settings, declared_settings
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import HostRow, PrincipalRow, RunRow
from vmkiln.template.vm_profile import VmProfile

ROOT = Path(__file__).parents[2] / "vmkiln"
RUN_ID = "0123abcd-0000-0000-0000-000000000000"
READS = {"oidc_issuer", "oidc_audience", "release_policy"}  # by the properties `oidc` and `demands`


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with opened(settings.database) as found:
        yield found


def test_each_setting_is_read_by_some_code() -> None:
    outside = [path for path in ROOT.rglob("*.py") if not path.name.startswith("settings")]
    read = {
        node.attr
        for path in outside
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    assert {one.name for one in declared_settings()} - READS <= read
    assert "oidc" in read


def test_secrets_are_sealed_with_the_keys_of_the_folder_that_is_named(tmp_path: Path) -> None:
    for keys in (None, tmp_path / "shared"):
        chosen = Settings(tmp_path / "home", keys=keys)
        with preparation.opened_store(chosen, lambda _text: None) as store:
            store.seal.sealed("hunter22", place="/a")
        assert [path.name for path in chosen.keys_folder.glob("*.json")] == ["keys.json"]
    assert {path.name for path in tmp_path.iterdir()} == {"home", "home-keys", "shared"}


def test_a_build_vm_leaves_its_host_the_reserved_memory() -> None:
    memory = [
        decide_shape(
            VmProfile(), generation=1, source_bytes=GIB, host_cpus=8, host_memory_mib=3000, reserved_mib=reserved
        ).memory_mib
        for reserved in (0, 1500)
    ]
    assert memory == [3000, 1500]


def test_what_is_spared_is_not_promised_to_runs(settings: Settings) -> None:
    all_of_it = host_capacity(replace(settings, spared_memory_mib=0)).memory_mib
    assert all_of_it > 0
    assert host_capacity(replace(settings, spared_memory_mib=10**9)).memory_mib == 0


async def test_no_build_begins_with_less_free_disk_than_the_operator_wants(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(preparation, "find_packer", None)  # is not reached
    with pytest.raises(HostUnfit, match="a build needs 1000000000"):
        async with prepared_host(replace(settings, least_free_disk_mib=10**9), store, print):
            pass


async def test_a_user_without_subordinate_ids_is_told_before_anything_is_fetched(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(preparation, "own_range", lambda _file: None)
    monkeypatch.setattr(preparation, "find_packer", None)  # is not reached
    with pytest.raises(HostUnfit, match=r"no range for .* in /etc/subuid") as caught:
        async with prepared_host(replace(settings, least_free_disk_mib=0), store, print):
            pass
    assert "usermod --add-subuids" in str(caught.value.hint)
    assert caught.value.exit_code == 3


def test_a_cached_platform_image_is_used_until_the_age_that_was_set() -> None:
    entry = DebianEntry("Debian", "debian-12", "12", 1, "bookworm", "12")
    image = SourceImage(
        "debian:debian-12:12", "12.1", Path("/c"), "qcow2", "d", 1, "Linux", GIB, "a test",
        utc_now() - timedelta(days=2), recipe=recipe_of(entry),
    )  # fmt: skip
    reference = PlatformImageReference("debian", "debian-12", "12")
    actions = [resolve(reference, entry, [image], now=utc_now(), most_age_days=days).action for days in (3, 1)]
    assert actions == [Action.USE, Action.MAKE]


def test_a_run_is_begun_anew_as_often_as_was_set(settings: Settings, store: Store) -> None:
    row = RunRow(RUN_ID, "web", "rg", {}, RunState.RUNNING, "", "", "", "", {}, utc_now(), None, "/subscriptions/s/t")
    store.runs.add(row)
    end_leftovers(replace(settings, most_run_attempts=1), store, lambda _text: None)
    assert (store.runs.find(RUN_ID).state, store.runs.find(RUN_ID).error_code) == (RunState.FAILED, "RunLost")


@pytest.mark.parametrize(("kept_seconds", "left"), [(0.0, ["second"]), (60.0, ["first", "second"])])
def test_a_dead_host_is_remembered_as_long_as_was_set(store: Store, kept_seconds: float, left: list[str]) -> None:
    host = HostRow("first", "h", "kiln", "x64", "", "", 1, 1024, 1024)
    store.hosts.register(host, lease_seconds=0.01)
    time.sleep(0.05)
    store.hosts.give_up(besides="second")
    other = replace(host, incarnation="second", host_id="other", name="other")
    store.hosts.register(other, lease_seconds=60)
    store.hosts.forget(kept_seconds=kept_seconds)
    assert sorted(found.incarnation for found in store.hosts.all()) == left


def test_a_token_lasts_as_long_as_was_set() -> None:
    principal = PrincipalRow("app", "object", "web", utc_now(), False)
    token = an_issuer().token(principal, audience="https://a", now=utc_now(), lasts_seconds=120)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 120


def test_an_operators_egress_policy_counts_for_every_build(tmp_path: Path) -> None:
    settings = Settings(tmp_path, egress="*.example.org")
    policy = decided_egress(settings.egress, OPEN_EGRESS, {"vmkiln-egress": "a.example.org b.example"})
    assert policy.allows("a.example.org", 443)
    assert not policy.allows("b.example", 443)


async def test_a_wrong_egress_policy_is_named_before_anything_starts(tmp_path: Path, store: Store) -> None:
    with pytest.raises(InputError, match="VMKILN_EGRESS: `localhost`"):
        async with prepared_host(Settings(tmp_path, egress="localhost"), store, lambda _: None):
            pass
