"""The form of a new template checks what is written without making it, and asks for names before it deletes."""

import html
import json
from collections.abc import Mapping

import pytest
import yaml
from in_process import GROUP, SUBSCRIPTION, TEMPLATE, InProcess, a_template, add_group, provisioned, wait_for
from page_visitor import Visitor

from vmkiln.portal.templates import new_template
from vmkiln.portal.templates.examples import TITLES
from vmkiln.portal.templates.new_template import MOST_MISTAKES
from vmkiln.portal.templates.read_text import MOST_CHECKED_LETTERS, ReadText, read_text

FORM = {"subscription": SUBSCRIPTION, "group": "rg1", "name": "web", "action": "check"}


def test_a_check_finds_every_mistake_at_once_and_makes_nothing(browser: Visitor, living: InProcess) -> None:
    body = a_template(source={"type": "PlatformImage"}, buildTimeoutInMinutes=-1, mine="kept <b>")
    answer = browser.send("/portal/new", **{**FORM, "name": "a b", "body": json.dumps(body)})
    assert answer.status_code == 400
    for part in ("properties.source.publisher", "properties.buildTimeoutInMinutes", "cannot be named `a b`"):
        assert part in answer.text
    assert "kept &lt;b&gt;" in answer.text, "nothing written is lost"
    assert 'id="body-wrong"' in answer.text
    assert living.get(GROUP).status_code == 404


def test_a_check_of_what_is_right_says_so_and_makes_nothing(browser: Visitor, living: InProcess) -> None:
    answer = browser.send("/portal/new", **FORM, body=json.dumps(a_template()))
    assert answer.status_code == 200
    assert "No mistake was found. Nothing was made yet." in answer.text
    assert "set-cookie" not in answer.headers, "nothing was done that the next page could tell"
    assert living.get(GROUP).status_code == 404
    add_group(living)
    provisioned(living, TEMPLATE, a_template())
    again = browser.send("/portal/new", **FORM, body=json.dumps(a_template()))
    assert (again.status_code, "of this name already" in again.text) == (400, True)
    made = browser.send("/portal/new", **{**FORM, "name": "web2", "action": ""}, body=json.dumps(a_template()))
    assert made.status_code == 303


def test_a_template_that_was_not_provisioned_is_edited_and_made_again(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    lost = {"type": "ManagedImage", "imageId": f"{GROUP}/providers/Microsoft.Compute/images/none"}
    found = provisioned(living, TEMPLATE, a_template(source=lost))
    assert found["properties"]["provisioningState"] == "Failed"
    link = f"/portal/new?from={TEMPLATE}&amp;again=yes"
    assert link in browser.get(f"/portal{TEMPLATE}").text
    page = html.unescape(browser.get(link.replace("&amp;", "&")).text)
    etag = living.get(TEMPLATE).headers["etag"]
    for part in ('name="name" value="web"', f'name="again" value="{etag}"', "images/none"):
        assert part in page, part
    form = {**FORM, "again": etag, "body": json.dumps(a_template())}
    assert "No mistake was found" in browser.send("/portal/new", **form).text
    assert living.request("PATCH", TEMPLATE, {"tags": {"by": "another"}}).status_code == 202
    late = browser.send("/portal/new", **{**form, "action": ""})
    assert (late.status_code, "has changed since this form was opened" in late.text) == (409, True)
    assert living.get(TEMPLATE).json()["tags"] == {"by": "another"}, "it was not deleted"
    form["again"] = living.get(TEMPLATE).headers["etag"]
    assert browser.send("/portal/new", **{**form, "action": ""}).status_code == 303
    wait_for(lambda: living.get(TEMPLATE).json()["properties"]["provisioningState"] == "Succeeded")
    assert "again=yes" not in browser.get(f"/portal{TEMPLATE}").text
    old_link = browser.get(f"/portal/new?from={TEMPLATE}&again=yes").text
    assert 'name="again"' not in old_link, "it says not that one is deleted which would not be"
    refused = browser.send("/portal/new", **{**form, "action": "", "body": json.dumps(a_template("other"))})
    assert (refused.status_code, "of this name already" in refused.text) == (409, True), "it is not deleted"
    assert living.get(TEMPLATE).json()["properties"]["customize"][0]["inline"] == ["true"]
    living.access.roles["reader"] = [("Reader", GROUP)]
    browser.token = "reader"
    assert "again=yes" not in browser.get(f"/portal{TEMPLATE}").text


@pytest.mark.parametrize("action", ["", "check"])
def test_a_mistake_of_json_is_told_by_line_and_column(browser: Visitor, action: str) -> None:
    page = browser.send(
        "/portal/new", **{**FORM, "action": action}, body='{\r\n  "location": "westus2"\r\n  "x": 1}'
    ).text
    field = page.partition('id="body-wrong">')[2].partition("</p>")[0]
    assert field.startswith("line 3, column 3: expected `,` or `}`")
    assert 'aria-describedby="body-wrong" autofocus' in page


def test_a_mistake_of_the_content_leads_to_its_line(browser: Visitor) -> None:
    steps = [{"type": "Shell", "inline": ["true"]}, {"type": "Shell", "inline": "<b>"}]
    text = json.dumps(a_template(customize=steps, buildTimeoutInMinutes=-1), indent=2).replace("\n", "\r\n")
    lines = [line.strip() for line in text.split("\r\n")]
    page = browser.send("/portal/new", **FORM, body=text).text
    for wrong in ('"inline": "<b>"', '"buildTimeoutInMinutes": -1'):
        number = 1 + next(index for index, line in enumerate(lines) if line.startswith(wrong))
        assert f'<a href="#line-{number}">line {number}</a>' in page
        marked = page.partition(f'<code id="line-{number}" class="bad">')[2].partition("</code>")[0]
        assert wrong.replace(chr(34), "&#34;").replace("<b>", "&lt;b&gt;") in marked
    assert 'class="bad"' not in page.partition('<code id="line-2"')[2].partition(">")[0]


def test_names_of_the_form_are_no_places_of_its_text(browser: Visitor) -> None:
    body = json.dumps({"name": "web", **a_template()}, indent=2)
    page = browser.send("/portal/new", **{**FORM, "name": "a b"}, body=body).text
    assert "cannot be named `a b`" in page
    assert 'href="#line-' not in page


def test_a_column_is_that_of_what_was_written(browser: Visitor) -> None:
    body = '{"a": "/subscriptions/SUBSCRIPTION/x", 1}'
    page = browser.send("/portal/new", **FORM, body=body).text
    assert f"line 1, column {body.index('1}') + 1}" in page


@pytest.mark.parametrize("body", ["", "[]", "null", "1", '{"properties": []}', "{}", "[" * 5000])
def test_a_check_of_what_is_no_template_is_no_error_of_ours(browser: Visitor, body: str) -> None:
    assert browser.send("/portal/new", **FORM, body=body).status_code == 400


def test_a_check_has_limits(browser: Visitor) -> None:
    many = json.dumps(a_template(customize=[{}] * (2 * MOST_MISTAKES)))
    page = browser.send("/portal/new", **FORM, body=many).text
    assert page.partition('<div class="error"')[2].partition("</div>")[0].count("<li>") == MOST_MISTAKES
    assert "these are the first" in page
    assert browser.send("/portal/new", **FORM, body=" " * (MOST_CHECKED_LETTERS + 1)).status_code == 413


def test_a_chosen_source_is_put_into_the_text_by_each_button(browser: Visitor, living: InProcess) -> None:
    page = browser.get("/portal/new").text
    assert '<optgroup label="Made here">' in page
    assert '<option value="Debian:debian-13:13">Debian:debian-13:13</option>' in page
    form = {**FORM, "source": "Debian:debian-13:13", "body": json.dumps(a_template())}
    put_in = browser.send("/portal/new", **{**form, "action": "source"})
    assert (put_in.status_code, "has the source that you chose" in put_in.text) == (200, True)
    assert "&#34;offer&#34;: &#34;debian-13&#34;" in put_in.text
    assert '" selected>' not in put_in.text.partition('id="source"')[2].partition("</select>")[0]
    assert living.get(GROUP).status_code == 404, "nothing was made"
    assert "debian-13" in browser.send("/portal/new", **form).text
    assert browser.send("/portal/new", **{**form, "action": ""}).status_code == 303
    made = living.get(TEMPLATE).json()["properties"]["source"]
    assert (made["offer"], made["sku"]) == ("debian-13", "13")


def test_a_source_that_cannot_be_put_in_is_told_at_its_field(browser: Visitor) -> None:
    body = '{"location": "westus2", // mine\n "properties": {}}'
    for source in ("Debian:debian-13:13", "nonsense <b>"):
        answer = browser.send("/portal/new", **{**FORM, "source": source, "body": body, "action": "source"})
        assert answer.status_code == 400
        assert 'id="source" name="source" aria-invalid="true" aria-describedby="source-wrong" autofocus' in answer.text
        assert "// mine" in answer.text, "nothing written is lost"
        assert browser.get("/portal/new", params={"source": "nonsense <b>"}).status_code == 400


def test_a_stranger_learns_no_names_by_a_check(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template())
    browser.token = "stranger"
    for name in ("web", "none"):
        answer = browser.send("/portal/new", **{**FORM, "name": name}, body=json.dumps(a_template()))
        assert (answer.status_code, "already" in answer.text) == (403, False)


@pytest.mark.parametrize("name", [None, "", "other"])
def test_nothing_is_deleted_whose_name_was_not_written(browser: Visitor, living: InProcess, name: str | None) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template())
    form = {"action": "delete"} | ({} if name is None else {"name": name})
    for path in (TEMPLATE, GROUP):
        answer = browser.send(f"/portal{path}", **form)
        assert (answer.status_code, "write the name of the" in answer.text) == (400, True)
        assert living.get(path).json()["properties"]["provisioningState"] == "Succeeded"


def test_a_group_is_deleted_by_its_name_and_that_of_a_build_is_not(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    found = provisioned(living, TEMPLATE, a_template())
    staging = f"/portal{found['properties']['exactStagingResourceGroup']}"
    assert 'id="delete"' not in browser.get(staging).text
    name = staging.rpartition("/")[2]
    assert browser.send(staging, action="delete", name=name).status_code == 409
    page = browser.get(f"/portal{GROUP}").text
    assert "<strong>1 resource</strong>" in page.partition('id="delete"')[2]
    browser.token = "reader"
    assert browser.send(f"/portal{GROUP}", action="delete", name="rg1").status_code == 403
    browser.token = "owner"
    assert browser.send(f"/portal{GROUP}", action="explode", name="rg1").status_code == 400
    gone = browser.send(f"/portal{GROUP}", action="delete", name=" RG1")
    assert (gone.status_code, gone.headers["location"]) == (303, "/portal/groups")
    assert "delete-group.rg1" in gone.headers["set-cookie"]
    wait_for(lambda: living.get(GROUP).status_code == 404)


def test_the_form_begins_with_one_of_several_examples(browser: Visitor) -> None:
    page = browser.get("/portal/new").text
    assert page.count('href="/portal/new?example=') == len(TITLES)
    assert "nginx -t" in browser.get("/portal/new?example=web-server").text
    assert "/etc/hello" in browser.get("/portal/new?example=%3Cb%3E").text
    mistaken = browser.send("/portal/new", **FORM, body="{").text
    assert "?example=" not in mistaken, "a link there would lose what was written"


def test_a_template_in_yaml_is_checked_by_its_lines_and_made(browser: Visitor, living: InProcess) -> None:
    body = yaml.safe_dump(a_template(), sort_keys=False).replace("\n", "\r\n")
    wrong = browser.send("/portal/new", **FORM, body=body.replace("type: Shell", "type: Shel"))
    number = 1 + next(at for at, line in enumerate(body.split("\r\n")) if "type: Shell" in line)
    assert (wrong.status_code, f'href="#line-{number}">line {number}</a>' in wrong.text) == (400, True)
    assert "No mistake was found." in browser.send("/portal/new", **FORM, body=body).text
    source = browser.send("/portal/new", **{**FORM, "source": "Debian:debian-13:13"}, body=body)
    assert (source.status_code, "as YAML or one with comments" in source.text) == (400, True)
    assert browser.send("/portal/new", **{**FORM, "action": ""}, body=body).status_code == 303
    assert living.get(TEMPLATE).json()["properties"]["customize"] == a_template()["properties"]["customize"]


@pytest.mark.parametrize("action", ["", "check"])
def test_the_copy_of_a_template_with_secrets_says_where_they_go(browser: Visitor, action: str) -> None:
    body = json.dumps(a_template("echo ***kept***"), indent=2)
    answer = browser.send("/portal/new", **{**FORM, "action": action}, body=body)
    number = 1 + next(at for at, line in enumerate(body.split("\n")) if "***kept***" in line)
    assert answer.status_code == 400
    assert f'href="#line-{number}">line {number}</a>' in answer.text
    assert "none is kept for this text" in answer.text


@pytest.mark.parametrize("body", ["{", json.dumps(a_template(buildTimeoutInMinutes=-1)), json.dumps(a_template())])
@pytest.mark.parametrize("action", ["", "check", "plan"])
def test_a_form_is_read_once(browser: Visitor, monkeypatch: pytest.MonkeyPatch, body: str, action: str) -> None:
    read: list[str] = []

    def counted(values: Mapping[str, str]) -> ReadText:
        read.append(values["body"])
        return read_text(values)

    monkeypatch.setattr(new_template, "read_text", counted)
    browser.send("/portal/new", **{**FORM, "action": action}, body=body)
    assert read == [body]
