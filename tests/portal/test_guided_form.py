"""The guided form makes a template without scripts: rows come, move and go; every mistake is told at its field."""

import html
import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from in_process import GROUP, SUBSCRIPTION, TEMPLATE, InProcess, a_template, add_group, provisioned
from markupsafe import escape
from page_visitor import Visitor

from vmkiln.errors import ArmError
from vmkiln.portal.templates.guided_fields import GROUPS, PLAIN, acted_on, begun, body_of, written_in
from vmkiln.portal.visit import MOST_FIELDS

FORM = "/portal/new/guided"
FIELDS = {
    "subscription": SUBSCRIPTION,
    "group": "rg1",
    "name": "web",
    "location": "westus2",
    "source": "Debian:debian-12:12",
    "step.0.kind": "Shell",
    "step.0.name": "first",
    "step.0.text": "true\r\necho two\r\n",
    "step.1.kind": "File",
    "step.1.text": "https://files.example/app.tar.gz",
    "step.1.to": "/tmp/app.tar.gz",
    "check.0.kind": "Shell",
    "check.0.text": "test -e /tmp/app.tar.gz",
    "target.0.kind": "ManagedImage",
    "target.0.name": "image",
    "minutes": "77",
    "tags": "team=web",
}
FIELD = re.compile(r'<(?:input|textarea|select)[^>]* name="([^"]+)"')


def body_in(page: str) -> Any:
    """The template that a page shows."""
    return json.loads(html.unescape(page.partition('<pre data-copy tabindex="0">')[2].partition("</pre>")[0]))


def told_at(page: str, field: str) -> str:
    return html.unescape(page.partition(f'id="{field}-wrong">')[2].partition("</p>")[0])


def test_a_template_is_checked_shown_and_made(browser: Visitor, living: InProcess) -> None:
    checked = browser.send(FORM, **FIELDS, action="check")
    assert (checked.status_code, "No mistake was found" in checked.text) == (200, True)
    assert living.get(GROUP).status_code == 404, "nothing was made"
    shown = body_in(checked.text)
    assert shown["properties"]["customize"] == [
        {"type": "Shell", "name": "first", "inline": ["true", "echo two"]},
        {"type": "File", "sourceUri": "https://files.example/app.tar.gz", "destination": "/tmp/app.tar.gz"},
    ]
    made = browser.send(FORM, **FIELDS, action="create")
    assert (made.status_code, made.headers["location"]) == (303, f"/portal{TEMPLATE}")
    found = living.get(TEMPLATE).json()
    assert found["tags"] == {"team": "web"}
    properties = found["properties"]
    assert properties["buildTimeoutInMinutes"] == 77
    assert properties["source"]["offer"] == "debian-12"
    assert properties["distribute"][0]["imageId"] == f"{GROUP}/providers/Microsoft.Compute/images/web"
    assert properties["validate"]["inVMValidations"][0]["inline"] == ["test -e /tmp/app.tar.gz"]


def test_every_mistake_is_told_at_once_at_its_field(browser: Visitor, living: InProcess) -> None:
    wrong = {
        **FIELDS,
        "group": "a/b",
        "source": "",
        "step.0.text": "",
        "step.1.to": "",
        "target.0.name": "",
        "target.1.kind": "SharedImage",
        "target.1.to": "none",
        "minutes": "many",
        "tags": "team",
        "vm_size": "Standard_Huge",
    }
    for action in ("check", "create"):
        answer = browser.send(FORM, **wrong, action=action)
        assert answer.status_code == 400
        assert living.get(GROUP).status_code == 404
        page = answer.text
        for field, words in (
            ("group", "cannot be named `a/b`"),
            ("source", "choose what the image starts from"),
            ("step.0.text", "write at least one command"),
            ("step.1.to", "write where the file goes"),
            ("target.0.name", ""),
            ("target.1.to", "GALLERY/DEFINITION"),
            ("minutes", "whole number"),
            ("tags", "is no tag"),
            ("vm_size", "Standard_Huge"),
        ):
            assert told_at(page, field), (action, field)
            assert words in told_at(page, field)
            assert f'<a href="#{field}">' in page
            assert f'id="{field}" name="{field}" aria-invalid="true" aria-describedby="{field}-wrong"' in page
        assert page.count(" autofocus") == 1
        told = re.findall(r'<li><a href="#([^"]+)">', page)
        places = [page.index(f' id="{field}"') for field in told]
        assert places == sorted(places), "mistakes are told in the order of the page"
        assert " autofocus" in page.partition(f' id="{told[0]}"')[2].partition(">")[0], "one begins at the first"
        assert "Customizer 2, where to</a>: write where the file goes" in page
        assert not told_at(page, "target.0.to"), "it follows from the group alone"
        assert "properties.source.publisher" not in page, "it follows from there being no source"
        assert "echo two" not in page
        assert 'value="many"' in page, "nothing written is lost"


def test_rows_are_added_moved_and_taken_away(browser: Visitor) -> None:
    added = browser.send(FORM, **FIELDS, action="add.check.PowerShell").text
    assert 'name="check.1.kind" value="PowerShell"' in added
    assert 'id="check.1.name" name="check.1.name" autofocus' in added
    assert "echo two" in added
    moved = browser.send(FORM, **FIELDS, action="up.step.1").text
    assert 'name="step.0.kind" value="File"' in moved
    assert 'name="step.1.kind" value="Shell"' in moved
    gone = browser.send(FORM, **FIELDS, action="drop.target.0").text
    assert "target.0" not in gone
    assert "It goes nowhere yet." in gone
    nowhere = browser.send(FORM, **{name: value for name, value in FIELDS.items() if "target" not in name})
    assert (nowhere.status_code, "add a target" in told_at(nowhere.text, "add-target")) == (400, True)


@pytest.mark.parametrize(
    "action", ["explode", "add.step", "add.step.Shel", "up.step.0", "drop.step.9", "drop.step.-1", "add.x.Shell", "up"]
)
def test_other_actions_are_refused_and_lose_nothing(browser: Visitor, action: str) -> None:
    answer = browser.send(FORM, **FIELDS, action=action)
    assert answer.status_code == 400
    assert "echo two" in answer.text


def test_it_opens_with_what_makes_an_image_and_goes_on_as_text(browser: Visitor) -> None:
    page = browser.get(f"{FORM}?source=Debian:debian-13:13").text
    assert '<option value="Debian:debian-13:13" selected>' in page
    sent = dict(re.findall(r'<input type="(?:text|hidden)" id="[^"]*" name="([^"]*)" value="([^"]*)"', page))
    assert sent["location"] == "westus2"
    assert f'value="{SUBSCRIPTION}"' in browser.send(FORM, **FIELDS, action="add.step.Shell").text
    shown = browser.send(FORM, **FIELDS, action="check").text.partition('id="json"')[2]
    text = browser.send("/portal/new", **{**FIELDS, "body": json.dumps(body_in(shown))}, action="check").text
    assert "No mistake was found" in text
    assert 'href="/portal/new/guided">By fields</a>' in browser.get("/portal/new").text


def test_a_source_that_the_list_has_not_is_in_the_form_all_the_same(browser: Visitor) -> None:
    source = f'{GROUP}/providers/Microsoft.Compute/images/"><b>'
    page = browser.get(f"{FORM}?source={quote(source)}").text
    assert f'<option value="{escape(source)}" selected>' in page
    assert "<b>" not in page


def test_a_template_that_is_there_is_not_changed(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("as it was"))
    for action in ("check", "create"):
        answer = browser.send(FORM, **FIELDS, action=action)
        assert answer.status_code in {400, 409}
        assert "of this name already" in told_at(answer.text, "name")
    assert living.get(TEMPLATE).json()["properties"]["customize"][0]["inline"] == ["as it was"]


def test_who_may_only_read_is_offered_no_creation(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    browser.token = "reader"
    page = browser.get(FORM).text
    assert 'value="create"' not in page
    assert 'id="only-read"' in page
    refused = browser.send(FORM, **FIELDS, action="create")
    assert (refused.status_code, living.get(TEMPLATE).status_code) == (403, 404)


def test_what_is_written_is_text(browser: Visitor) -> None:
    page = browser.send(FORM, **{**FIELDS, "step.0.text": "</textarea><b>", "name": '"><b>'}, action="check").text
    assert "<b>" not in page


def test_the_largest_form_is_not_too_large(browser: Visitor) -> None:
    form = begun({"subscription": SUBSCRIPTION})
    for group in GROUPS:
        while len(form.rows[group.word]) < group.most:
            form, _ = acted_on(form, f"add.{group.word}.{'File' if group.word == 'step' else next(iter(group.kinds))}")
        with pytest.raises(ArmError):
            acted_on(form, f"add.{group.word}.{next(iter(group.kinds))}")
    sent = {f"{word}.{at}.kind": row.kind for word, rows in form.rows.items() for at, row in enumerate(rows)}
    page = browser.send(FORM, **form.values, **sent, action="check").text.partition('id="json"')[0]
    names = FIELD.findall(page)
    assert len(names) == len(set(names))
    assert len(names) + 1 <= MOST_FIELDS
    assert "at most here" in page


def test_what_no_form_of_ours_sends_is_left_out() -> None:
    sent = {"step.0.kind": "Explode", "step.1.kind": "Shell", "step.1.more": "x", "step.99.kind": "Shell", "x": "y"}
    many = {f"target.{at}.kind": "VHD" for at in range(90)}
    found = written_in({**sent, **many})
    assert [row.kind for row in found.rows["step"]] == ["Shell", "Shell"]
    assert len(found.rows["target"]) == 4
    assert set(found.values) == set(PLAIN)
    assert body_of(found)[0]["properties"]["customize"][0] == {"type": "Shell", "inline": []}
