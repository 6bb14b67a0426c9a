"""The answer file has the form that set-up reads, and says what it has to and no more."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import pytest

from vmkiln.windows.answer_file import MOST_COMMAND_LETTERS, NAMESPACE, WCM, Answer, answer_file
from vmkiln.windows.login_tag import Hook
from vmkiln.windows.run_login import RunLogin, new_login

COMPONENTS = {"specialize": ["Deployment", "Shell-Setup"], "oobeSystem": ["International-Core", "Shell-Setup"]}


@pytest.fixture(scope="module")
def login() -> RunLogin:
    return new_login(["10.1.0.4"], now=datetime.now(UTC))


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 (our own text)


def named(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


@pytest.mark.parametrize("hook", Hook)
def test_the_answer_is_well_formed_with_each_component_in_its_pass(login: RunLogin, hook: Hook) -> None:
    root = parsed(answer_file(Answer(login, hook)))
    assert root.tag == named("unattend")
    found = {part.get("pass"): part.findall(named("component")) for part in root}
    names = {
        name: [part.get("name", "").removeprefix("Microsoft-Windows-") for part in of] for name, of in found.items()
    }
    assert names == COMPONENTS
    for component in root.iter(named("component")):
        assert component.get("processorArchitecture") == "amd64"
        assert (component.get("publicKeyToken"), component.get("versionScope")) == ("31bf3856ad364e35", "nonSxS")
    for commands in (*root.iter(named("RunSynchronous")), *root.iter(named("FirstLogonCommands"))):
        assert [one.findtext(named("Order")) for one in commands] == [
            str(number + 1) for number in range(len(commands))
        ]
        assert all(one.get(f"{{{WCM}}}action") == "add" for one in commands)
    for line in (*root.iter(named("Path")), *root.iter(named("CommandLine"))):
        assert len(line.text or "") <= MOST_COMMAND_LETTERS


def passwords(text: str) -> dict[str, str]:
    root = parsed(text)
    parents = {child: parent for parent in root.iter() for child in parent}
    found = {}
    for value in root.iter(named("Value")):
        holder = parents[value]
        assert holder.findtext(named("PlainText")) == "true"
        place = f"{parents[holder].tag}/{holder.tag}"
        found[place.replace(named(""), "")] = value.text or ""
    return found


def test_passwords_stand_only_where_they_are_listed(login: RunLogin) -> None:
    text = answer_file(Answer(login))
    assert passwords(text) == {
        "UserAccounts/AdministratorPassword": login.administrator_password,
        "LocalAccount/Password": login.password,
    }
    assert text.count(login.password) == text.count(login.administrator_password) == 1
    assert login.certificate.pfx_password not in text


def test_nobody_is_logged_in_but_where_no_script_is_run_at_the_end(login: RunLogin) -> None:
    assert "AutoLogon" not in answer_file(Answer(login))
    text = answer_file(Answer(login, Hook.FIRST_LOGON))
    assert passwords(text)["AutoLogon/Password"] == login.password
    root = parsed(text)
    assert [count.text for count in root.iter(named("LogonCount"))] == ["1"]
    assert [line.text for line in root.iter(named("CommandLine"))][-1] == "cmd.exe /c shutdown.exe /l /f"


def test_the_language_is_the_images_own(login: RunLogin) -> None:
    root = parsed(answer_file(Answer(login, language="de-DE")))
    assert [of.text for name in ("InputLocale", "UILanguage") for of in root.iter(named(name))] == ["de-DE", "de-DE"]
    assert "en-US" not in answer_file(Answer(login, language="de-DE"))
