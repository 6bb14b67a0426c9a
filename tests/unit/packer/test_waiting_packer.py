"""The Packer that waits is started as those of builds are, or none would ever take it."""

import json
from dataclasses import replace

from vmkiln.packer import waiting_packer
from vmkiln.packer.packer_template import Connection, Deprovision, InlineShell, packer_input
from vmkiln.staging.login_key import new_key


def test_a_build_starts_packer_with_the_words_of_the_one_that_waits() -> None:
    login = Connection(2222, "someone", new_key("login").private, 300, "/run/packer", (("PLACE", "secret"),))
    for connection in (login, replace(login, user="another", timeout_seconds=7)):
        content = packer_input([InlineShell("one", "", ("true",)), Deprovision()], connection)
        for name in ("arguments", "environment"):
            assert content.text_of(name) == waiting_packer.files()[name]


def test_the_rehearsal_asks_for_the_plugins_of_a_build() -> None:
    login = Connection(2222, "someone", new_key("login").private, 300, "/run/packer")
    content = packer_input([InlineShell("one", "", ("true",)), Deprovision()], login)
    of_a_build, rehearsed = (
        json.loads(text)
        for text in (content.text_of("template.json"), waiting_packer.files()["rehearsal/template.json"])
    )
    for kind in ("builders", "provisioners"):
        assert [one["type"] for one in rehearsed[kind]] == [one["type"] for one in of_a_build[kind]]
    assert waiting_packer.files()["rehearsal/environment"] == waiting_packer.files()["environment"]


def test_the_trial_is_of_the_one_that_waits() -> None:
    trial = waiting_packer.trial()
    for name in ("arguments", "environment"):
        assert trial.text_of(name) == waiting_packer.files()[name]
    assert json.loads(trial.text_of("template.json"))["builders"] == [{"type": "null", "communicator": "none"}]
