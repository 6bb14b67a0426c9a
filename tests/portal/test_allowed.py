"""A page offers a visitor what they may do, and nothing that they would be refused."""

from in_process import GROUP, IMAGE, SUBSCRIPTION, TEMPLATE, InProcess
from page_visitor import Visitor, run_page

from vmkiln.portal.overview.allowed import may_make_templates
from vmkiln.rights.rights import Permission, Rights
from vmkiln.store.rows import HostRow
from vmkiln.store.run_facts import LeaseFact

PERMISSIONS = "/providers/Vmkiln.Builds/permissions"
ACTING = {
    "/portal/": ('aria-label="Run web"',),
    f"/portal{TEMPLATE}": (
        'value="run"', 'value="cancel"', 'value="delete"', 'value="tags"', 'value="trigger"',
    ),
    f"/portal{IMAGE}": ("/download", 'value="delete"'),
    f"/portal{GROUP}": ('value="delete"',),
}  # fmt: skip
CANCEL_OR_RETRY = ('value="cancel"', 'value="retry"')


def test_who_may_only_read_is_offered_no_button_that_acts(browser: Visitor, living: InProcess) -> None:
    run = run_page(living, "publish")
    browser.token = "guest"
    for role, may_act in (("Reader", False), ("Contributor", True)):
        living.access.roles["guest"] = [(role, GROUP)]
        for path, words in {**ACTING, run: CANCEL_OR_RETRY}.items():
            page = browser.get(path)
            assert page.status_code == 200, path
            assert [word in page.text for word in words] == [may_act] * len(words), path
        assert ('id="only-read"' in browser.get(f"/portal{TEMPLATE}").text) is not may_act


def test_only_who_may_enter_a_held_vm_is_told_the_command(browser: Visitor, living: InProcess) -> None:
    run = run_page(living, "fail")
    lease: LeaseFact = {"until": "2100-01-01T10:00:00+00:00", "size_mib": 500, "host_id": "h"}
    living.service.store.runs.add_facts(run.rpartition("/")[2], lease=lease)
    browser.token = "guest"
    for role, may_enter in (("Reader", False), ("Runner", False), ("Contributor", True)):
        living.access.roles["guest"] = [(role, GROUP)]
        page = browser.get(run).text
        assert "<dt>Held</dt>" in page
        assert ("vmkiln run shell" in page) is may_enter, role
        assert ("from any machine that is logged in to this service" in page) is may_enter
        assert ("vmkiln run shell" in browser.get(f"{run}/follow").text) is may_enter, role


def test_who_may_make_no_template_is_offered_to_check_one_alone(browser: Visitor, living: InProcess) -> None:
    browser.token = "guest"
    for roles, may_make in (
        ([("Reader", "/")], False),
        ([("Reader", "/"), ("Contributor", GROUP)], True),
        ([("Owner", "/")], True),
    ):
        living.access.roles["guest"] = roles
        page = browser.get("/portal/new").text
        offered = [word in page for word in (">Create<", 'value="plan"', 'value="check"')]
        assert offered == [may_make, may_make, True]
        assert ('id="only-read"' in page) is not may_make
    writes = frozenset({Permission.WRITE})
    for types, may_make in (("Microsoft.Network", False), ("Microsoft.VirtualMachineImages", True)):
        assert may_make_templates(Rights(limited=((writes, GROUP, types),))) is may_make


def test_a_host_is_offered_for_draining_to_who_may(browser: Visitor, living: InProcess) -> None:
    host = HostRow("an-incarnation", "an-id", "worker-1", "x64", "emulated", "", 8, 65_536, 100_000)
    living.service.store.hosts.register(host, lease_seconds=600)
    for role, may_act in (("Reader", False), ("Contributor", True)):
        living.access.roles["guest"] = [(role, "/")]
        browser.token = "guest"
        assert ('value="drain"' in browser.get("/portal/hosts").text) is may_act
    for elsewhere in ("../../subscriptions/x", "..", "a/b", "a?b", ""):
        answer = browser.send("/portal/hosts", host=elsewhere, action="drain")
        assert (answer.status_code, "no host has this name" in answer.text) == (400, True)


def test_a_host_of_any_name_can_be_drained(browser: Visitor, living: InProcess) -> None:
    name = "B\u00fcro 1 (%41, #2)"
    host = HostRow("an-incarnation", "an-id", name, "x64", "emulated", "", 8, 65_536, 100_000)
    living.service.store.hosts.register(host, lease_seconds=600)
    living.access.roles["guest"] = [("Contributor", "/")]
    browser.token = "guest"
    assert browser.send("/portal/hosts", host=name, action="drain").status_code == 303
    assert [found.is_draining for found in living.service.store.hosts.all() if found.name == name] == [True]


def test_each_caller_is_told_what_their_own_roles_allow(living: InProcess) -> None:
    def told(token: str) -> list[tuple[str, list[str]]]:
        answer = living.get(PERMISSIONS, token=token)
        assert answer.status_code == 200
        return [(row["scope"], row["allowed"]) for row in answer.json()["value"]]

    living.access.roles["guest"] = [("Reader", GROUP), ("Reader", GROUP), ("Owner", f"{GROUP}2")]
    everything = ["action", "assign", "delete", "read", "shell", "write"]
    assert told("guest") == [(GROUP, ["read"]), (f"{GROUP}2", everything)]
    assert told("reader") == [(f"/subscriptions/{SUBSCRIPTION}", ["read"])]
    living.access.roles["nobody"] = []
    assert told("nobody") == []
    assert living.get(PERMISSIONS, token="unknown").status_code == 401
