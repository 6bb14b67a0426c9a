"""A list costs as much for whoever may read a part of it as for whoever may read all, and shows exactly that part."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from in_process import BASE, GROUP, SUBSCRIPTION, InProcess, InstantWork, TestAccess, an_issuer, started

from vmkiln.api.identity.access_control import AccessControl
from vmkiln.api.identity.caller import Permission, Rights
from vmkiln.api.protocol.listing import MOST_SCOPES, container_of
from vmkiln.store import database
from vmkiln.store.rows import ResourceRow

TYPE = "Microsoft.VirtualMachineImages/imageTemplates"
LISTS = (f"/subscriptions/{SUBSCRIPTION}/providers/{TYPE}", f"/subscriptions/{SUBSCRIPTION}/resources")
MANY, SOME = 5000, 150


def template(group: str, number: int) -> ResourceRow:
    name = f"t{number:05}"
    resource_id = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/{TYPE}/{name}"
    properties = {"source": {}, "provisioningState": "Succeeded"}
    return ResourceRow(resource_id, TYPE, name, SUBSCRIPTION, group, location="l", properties=properties)


@contextlib.contextmanager
def heard(store: database.Store, listener: Callable[..., None]) -> Iterator[None]:
    """Tell a listener of every statement while the block lasts."""
    for engine in store.connections.engines:
        sa.event.listen(engine, "before_cursor_execute", listener)
    try:
        yield
    finally:
        for engine in store.connections.engines:
            sa.event.remove(engine, "before_cursor_execute", listener)


class Lists:
    """A service with many templates, and principals with roles in a part of them."""

    def __init__(self, home: Path, store: database.Store) -> None:
        self._store = store
        issuer = an_issuer()
        self._service: InProcess = started(store, home, AccessControl(store, issuer), InstantWork(store=store))  # type: ignore[arg-type]
        rows = [*(template("rg1", number) for number in range(MANY)), *(template("rg2", n) for n in range(SOME))]
        store.resources.insert_many(rows)

    def token(self, *scopes: str) -> str:
        principal, _ = self._store.principals.create("caller")
        for scope in scopes:
            self._store.principals.assign(principal.object_id, "Reader", scope)
        return self._store.principals.add_token(principal.object_id, "t")

    def page(self, url: str, token: str) -> tuple[dict[str, Any], int]:
        """A page, and how many statements it took."""
        count = 0

        def counted(*_arguments: object) -> None:
            nonlocal count
            count += 1

        with heard(self._store, counted):
            answer = self._service.get(url, token=token)
        assert answer.status_code == 200, answer.text
        return answer.json(), count

    def all(self, url: str, token: str) -> list[str]:
        found: list[str] = []
        following: str | None = url
        while following:
            body, _ = self.page(following, token)
            found += [item["id"] for item in body["value"]]
            following = body.get("nextLink")
        return found


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lists]:
    home = tmp_path_factory.mktemp("home")
    with database.opened(home / "vmkiln.sqlite", home=home) as store:
        yield Lists(home, store)


@pytest.mark.parametrize("url", LISTS)
def test_a_reader_of_one_group_pays_for_a_list_what_the_owner_pays(lists: Lists, url: str) -> None:
    _, owner = lists.page(url, lists.token("/"))
    assert owner <= 20
    for scopes in (
        [GROUP.replace("rg1", "zz")],
        [GROUP.replace("rg1", "rg2")],
        [template("rg1", MANY - 1).id],
        [GROUP.replace("rg1", f"rg{number}") for number in range(2, 50)],
    ):
        _, reader = lists.page(url, lists.token(*scopes))
        assert reader <= owner


@pytest.mark.parametrize("url", LISTS)
def test_a_reader_of_one_group_sees_all_of_it_and_nothing_else(lists: Lists, url: str) -> None:
    token = lists.token(GROUP.replace("rg1", "RG2"), template("rg1", 7).id.upper())
    wanted = {template("rg1", 7).id, *(template("rg2", number).id for number in range(SOME))}
    found = lists.all(url, token)
    assert len(found) == len(wanted)
    assert set(found) == wanted


def test_the_roles_of_a_caller_are_read_once_a_request(lists: Lists) -> None:
    asked: list[str] = []

    def seen(_connection: object, _cursor: object, statement: str, *_arguments: object) -> None:
        asked.append(statement)

    token = lists.token(GROUP)
    with heard(lists._store, seen):
        lists._service.get(LISTS[0], token=token)
    assert len([statement for statement in asked if "vmkiln_role_assignment" in statement]) == 1


def test_more_scopes_than_a_statement_takes_are_compared_here(tmp_path: Path) -> None:
    with database.opened(tmp_path / "vmkiln.sqlite", home=tmp_path) as store:
        scopes = [("Reader", GROUP.replace("rg1", f"rg{number}")) for number in range(2, MOST_SCOPES + 3)]
        service = started(store, tmp_path, TestAccess({"owner": [("Owner", "/")], "many": scopes}), InstantWork())
        store.resources.insert_many([template("rg1", 1), template("rg2", 2)])
        found = service.get(f"{BASE}{LISTS[0]}", token="many").json()["value"]
        assert [item["id"] for item in found] == [template("rg2", 2).id]


@pytest.mark.parametrize(
    ("path", "container"),
    [
        ("/subscriptions/s/providers/M.X/things", "/subscriptions/s"),
        ("/subscriptions/s/resourceGroups", "/subscriptions/s"),
        ("/subscriptions/s/resources", "/subscriptions/s"),
        ("/subscriptions/s/resourceGroups/g/resources", "/subscriptions/s/resourceGroups/g"),
        ("/subscriptions/s/resourceGroups/g/providers/M.X/things", "/subscriptions/s/resourceGroups/g"),
        (
            "/subscriptions/s/resourceGroups/g/providers/M.X/things/t/parts",
            "/subscriptions/s/resourceGroups/g/providers/M.X/things/t",
        ),
        (
            "/subscriptions/s/resourceGroups/g/providers/M.X/things/t/providers/V.B/runs",
            "/subscriptions/s/resourceGroups/g/providers/M.X/things/t",
        ),
    ],
)
def test_a_list_knows_what_its_things_lie_in(path: str, container: str) -> None:
    assert container_of(path) == container


def test_scopes_below_another_are_those_with_the_permission() -> None:
    read = frozenset({Permission.READ})
    rights = Rights(((read, GROUP), (frozenset(), f"{GROUP}x"), (read, "/subscriptions/other/resourceGroups/a")))
    assert rights.scopes_below(f"/subscriptions/{SUBSCRIPTION}", Permission.READ) == {GROUP.lower()}
