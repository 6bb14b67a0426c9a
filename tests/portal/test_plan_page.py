"""What a build would do, on a page: of a template that is there, and of one that is only written."""

import json

import pytest
from in_process import GROUP, IMAGE, SUBSCRIPTION, TEMPLATE, InProcess, a_template, add_group, provisioned
from page_visitor import Visitor

from vmkiln.provisioning.kept_texts import KEPT

PLAN = f"{TEMPLATE}/providers/Vmkiln.Builds/plan"
PAGE = f"/portal{TEMPLATE}/plan"
FORM = {"subscription": SUBSCRIPTION, "group": "rg1", "name": "web", "action": "plan"}
SECRET = "sv=2024-01-01&sig=c2VjcmV0LXNpZ25hdHVyZS1vZi1hLWtleQ%3D%3D"


def test_a_plan_says_what_a_run_would_do_and_starts_none(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    checks = {"inVMValidations": [{"type": "Shell", "name": "serves", "inline": ["true"]}]}
    provisioned(living, TEMPLATE, a_template("echo <b>", "echo two", buildTimeoutInMinutes=77, validate=checks))
    assert f'href="{PAGE}">Plan</a>' in browser.get(f"/portal{TEMPLATE}").text
    page = browser.get(PAGE).text
    for part in ("PlatformImage Debian debian-12 12 latest", "<dd>77 minutes</dd>", "MiB of memory", "serves"):
        assert part in page
    assert "echo &lt;b&gt; (and 1 more line)" in page
    assert "the build VM " in page
    assert "the customizers begin at the first: neither the setting checkpoints nor the tag" in page
    assert "It cannot be built here" not in page
    assert living.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").json()["value"] == []


def test_a_plan_says_why_a_run_would_be_refused(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template())
    living.request("PATCH", TEMPLATE, {"tags": {"vmkiln-egress": "no such ! word"}})
    page = browser.get(PAGE).text
    assert "tags.vmkiln-egress" in page.partition("It cannot be built here")[2].partition("</div>")[0]


def test_a_written_template_is_planned_and_not_made(browser: Visitor, living: InProcess) -> None:
    answer = browser.send("/portal/new", **FORM, body=json.dumps(a_template("echo of the form")))
    assert answer.status_code == 200, answer.text
    assert '<section id="plan"' in answer.text
    assert "<code>echo of the form</code>" in answer.text.partition('<section id="plan"')[2]
    assert living.get(GROUP).status_code == 404
    assert '<section id="plan"' not in browser.send("/portal/new", **{**FORM, "action": "check"}, body="{}").text


def test_mistakes_stand_in_the_place_of_a_plan(browser: Visitor) -> None:
    answer = browser.send("/portal/new", **FORM, body=json.dumps(a_template(buildTimeoutInMinutes=-1)))
    assert (answer.status_code, "properties.buildTimeoutInMinutes" in answer.text) == (400, True)
    assert '<section id="plan"' not in answer.text


def test_a_plan_spells_a_new_template_as_one_that_is_kept(living: InProcess) -> None:
    add_group(living)
    body = a_template(customize=[{"type": "SHELL", "inline": ["true"], "name": None}])
    planned = living.request("POST", PLAN, body).json()["template"]["properties"]
    provisioned(living, TEMPLATE, body)
    kept = living.get(PLAN).json()["template"]["properties"]
    assert planned["customize"] == kept["customize"] == [{"type": "Shell", "inline": ["true"]}]


def test_a_plan_is_refused_where_making_it_would_be(living: InProcess) -> None:
    add_group(living)
    target = {"type": "ManagedImage", "runOutputName": "o", "imageId": IMAGE, "location": "nowhere"}
    for body in (
        a_template(f"curl https://example.com/?sig={KEPT}"),
        {**a_template(), "location": "nowhere"},
        a_template(distribute=[target]),
        {**a_template(), "name": "other"},
        {**a_template(), "id": f"{TEMPLATE}/providers/Vmkiln.Builds/plan"},
    ):
        planned, put = living.request("POST", PLAN, body), living.put(TEMPLATE, body)
        assert (planned.status_code, put.status_code) == (400, 400)
        assert planned.json()["error"]["code"] == put.json()["error"]["code"]
        assert planned.json()["error"]["message"] == put.json()["error"]["message"]
    assert living.request("POST", PLAN, {**a_template(), "name": "web", "id": TEMPLATE}).status_code == 200


def test_secrets_that_are_kept_are_not_in_a_plan_of_what_was_read(living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template(f"curl -o /tmp/x 'https://acc.blob.example.com/c/x?{SECRET}'"))
    read = living.get(TEMPLATE).json()
    sent = {name: read[name] for name in ("location", "tags", "identity")}
    given = {name: read["properties"][name] for name in ("source", "customize", "distribute")}
    planned = living.request("POST", PLAN, {**sent, "properties": given})
    assert planned.status_code == 200, planned.text
    assert "acc.blob.example.com" in planned.text
    assert "c2VjcmV0" not in planned.text


@pytest.mark.parametrize("token", ["reader", "stranger"])
def test_who_may_not_make_a_template_plans_no_new_one(browser: Visitor, token: str) -> None:
    browser.token = token
    assert browser.send("/portal/new", **FORM, body=json.dumps(a_template())).status_code == 403


def test_a_plan_names_no_image_that_the_caller_may_not_read(living: InProcess) -> None:
    other = GROUP.replace(SUBSCRIPTION, "3" + SUBSCRIPTION[1:])
    body = a_template(source={"type": "ManagedImage", "imageId": f"{other}/providers/Microsoft.Compute/images/theirs"})
    answer = living.request("POST", PLAN, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "LinkedAuthorizationFailed")


def test_no_secret_of_a_template_is_in_its_plan(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template(f"curl -o /tmp/x 'https://acc.blob.example.com/c/x?{SECRET}'"))
    kept = living.get(PLAN, token="reader")
    assert kept.status_code == 200
    shown = kept.text + browser.get(PAGE).text
    body = a_template(f"curl -o /tmp/x 'https://acc.blob.example.com/c/x?{SECRET}'")
    shown += living.request("POST", PLAN, body).text
    assert "acc.blob.example.com" in shown
    assert "c2VjcmV0" not in shown
