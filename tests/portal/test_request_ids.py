"""What the API refuses is shown with the id by which the service's logs have it; the portal's own is not."""

import re
from datetime import timedelta

from in_process import SUBSCRIPTION, TEMPLATE, InProcess, add_group, wait_for
from page_visitor import Visitor

from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import utc_now

SHOWN = re.compile(r'Request <code class="id" data-copy="([0-9a-f-]{36})"')


def test_a_refusal_has_the_id_that_the_audit_has(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    browser.token = "reader"
    page = browser.send(f"/portal{TEMPLATE}", action="run")
    found = SHOWN.findall(page.text)
    assert (page.status_code, len(found)) == (403, 1)
    audit, now = living.service.store.audit, utc_now()
    asked = AuditQuery(SUBSCRIPTION, now - timedelta(hours=1), now + timedelta(hours=1))
    wait_for(lambda: found[0] in [row.request_id for row in audit.find(asked, limit=20)])
    assert SHOWN.findall(browser.get(f"/portal{TEMPLATE}").text), "also of what only reads"


def test_each_refusal_has_an_id_of_its_own(browser: Visitor) -> None:
    pages = [browser.get(f"/portal{TEMPLATE}").text for _ in range(2)]
    assert len({SHOWN.findall(page)[0] for page in pages}) == 2


def test_what_the_portal_finds_itself_has_none(browser: Visitor) -> None:
    form = {"subscription": SUBSCRIPTION, "group": "a b", "name": "web", "action": "check", "body": "{"}
    assert not SHOWN.findall(browser.send("/portal/new", **form).text)
    assert not SHOWN.findall(browser.get("/portal/nothing").text)
