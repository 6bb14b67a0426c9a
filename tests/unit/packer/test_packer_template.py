"""What the container instance is given."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmkiln.errors import InputError
from vmkiln.packer.packer_template import (
    Checkpoint,
    Connection,
    Deprovision,
    FileCopy,
    InlineShell,
    InputFile,
    ScriptShell,
    Step,
    default_deprovisioning,
    packer_input,
    run_command,
)
from vmkiln.warm.checkpoint_step import new_token, visit

CONNECTION = Connection(2222, "packer", "PRIVATE KEY", 900, "/run/packer")
INLINE = InlineShell("inline", "a", ("echo {{user `x`}}", "true"))
SCRIPT = ScriptShell("script", "b", Path("/copies/one"))
COPY = FileCopy("copy", "c", Path("/copies/two"), "/tmp/motd")


def template_of(*steps: Step) -> dict[str, Any]:
    template: dict[str, Any] = json.loads(packer_input(steps, CONNECTION).text_of("template.json"))
    return template


def test_shell_steps_that_follow_each_other_share_one_provisioner() -> None:
    shown = template_of(INLINE, SCRIPT, COPY, INLINE, Deprovision())["provisioners"]
    assert [(each["type"], each.get("scripts", each.get("script", each.get("source")))) for each in shown] == [
        ("shell", ["/aib/packerInput/0000-shell.sh", "/aib/packerInput/0001-shell.sh"]),
        ("file", "/aib/packerInput/0002-file"),
        ("shell", ["/aib/packerInput/0003-shell.sh"]),
        ("shell", "/aib/packerInput/0004-deprovision.sh"),
    ]


def test_a_checkpoint_is_in_the_command_that_runs_a_script() -> None:
    checkpoint = Checkpoint(1, "wait 'in the VM'")
    kept, hidden = replace(INLINE, checkpoint=checkpoint), Checkpoint(2, checkpoint.text)
    content = packer_input((kept, COPY, hidden, replace(SCRIPT, checkpoint=checkpoint), SCRIPT), CONNECTION)
    shown = json.loads(content.text_of("template.json"))["provisioners"]
    names = [[path.rpartition("/")[2] for path in one.get("scripts", [one.get("source")])] for one in shown]
    assert names == [["0000-shell.sh"], ["0001-file"], ["0002-checkpoint.sh", "0003-shell.sh"], ["0004-shell.sh"]]
    assert ["in the VM" in one.get("execute_command", "") for one in shown] == [True, False, True, False]
    assert content.text_of("0002-checkpoint.sh") == "#!/bin/sh\n"


def test_the_command_with_all_that_it_carries_is_one_that_a_shell_takes() -> None:
    most_bytes_of_an_argument = 128 * 1024  # Linux: MAX_ARG_STRLEN
    assert len(run_command(default_deprovisioning(), visit(new_token()))) < most_bytes_of_an_argument // 2


def test_packer_does_not_come_back_for_the_deprovision_script() -> None:
    assert template_of(Deprovision())["provisioners"][0]["skip_clean"] is True


def test_scripts_go_to_the_vm_byte_for_byte_and_may_restart_it() -> None:
    (shown,) = template_of(INLINE, SCRIPT)["provisioners"]
    assert (shown["binary"], shown["expect_disconnect"], shown["start_retry_timeout"]) == (True, True, "900s")
    assert shown["remote_folder"] == "/run/packer"


def test_no_step_follows_the_deprovisioning_so_it_may_not_restart_the_vm() -> None:
    (shown,) = template_of(Deprovision())["provisioners"]
    assert shown["binary"] is True
    assert "expect_disconnect" not in shown


def test_no_text_of_the_user_is_in_the_template() -> None:
    content = packer_input([INLINE, SCRIPT], CONNECTION)
    template = content.text_of("template.json").replace("{{.Path}}", "").replace("{{.Vars}}", "")
    assert "{{" not in template
    assert "echo" not in template
    assert content.text_of("0000-shell.sh") == "#!/bin/sh -e\necho {{user `x`}}\ntrue\n"
    assert InputFile("0001-shell.sh", source=Path("/copies/one"), is_script=True) in content.files


def test_a_destination_that_packer_would_interpret_is_refused() -> None:
    with pytest.raises(InputError, match="interpret"):
        template_of(FileCopy("copy", "c", Path("/copies/two"), "/tmp/{{user `x`}}"))


def test_packer_logs_in_as_the_build_user_with_the_runs_key() -> None:
    builder = template_of(INLINE)["builders"][0]
    assert (builder["ssh_proxy_host"], builder["ssh_proxy_port"]) == ("127.0.0.1", 2222)
    assert builder["ssh_username"] == "packer"
    assert builder["ssh_private_key_file"] == "/aib/packerInput/key"
    assert builder["ssh_timeout"] == "900s"
    assert packer_input([INLINE], CONNECTION).text_of("key") == "PRIVATE KEY"


def test_packer_asks_nobody_for_updates_and_writes_only_below_tmp() -> None:
    environment = packer_input([INLINE], CONNECTION).text_of("environment").splitlines()
    assert "CHECKPOINT_DISABLE=1" in environment
    places = [line.partition("=")[2] for line in environment if line.startswith(("HOME=", "TMPDIR=", "PACKER_C"))]
    assert len(places) == 4
    assert all(place.startswith("/tmp") for place in places)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], 3),
        ([INLINE] * 30, 4),
        ([INLINE, COPY] * 10, 23),
    ],
)
def test_each_provisioner_counts_as_a_process(steps: list[Step], expected: int) -> None:
    assert packer_input(steps, CONNECTION).process_count == expected


def test_the_deprovisioning_tells_its_beginning_and_its_end() -> None:
    text = packer_input([INLINE, Deprovision()], CONNECTION).text_of("0001-deprovision.sh")
    told = [line for line in text.splitlines() if line.startswith("printf '\\036")]
    assert [line[12] for line in told] == ["s", "e"]
    assert told[-1] == "printf '\\036e0\\n'"
