"""The command: errors become messages and exit codes."""

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vmkiln.cli import main
from vmkiln.errors import HostUnfit, InputError, RunCanceled, VmkilnError
from vmkiln.run_failures import RunFailed


def exit_code_of(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int | str | None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as caught:
        main.main([])
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunFailed("the build failed"), 1),
        (InputError("no such file"), 2),
        (HostUnfit("no QEMU"), 3),
        (RunCanceled("cancelled"), 130),
    ],
)
def test_an_error_gives_its_exit_code(monkeypatch: pytest.MonkeyPatch, error: VmkilnError, code: int) -> None:
    assert exit_code_of(monkeypatch, error) == code


def test_error_and_hint_are_told_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code_of(monkeypatch, HostUnfit("no QEMU", hint="install it"))
    captured = capsys.readouterr()
    assert captured.err == "error: no QEMU\nhint: install it\n"
    assert captured.out == ""


def test_an_interrupt_gives_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    app = main.typer.Typer()
    app.command("wait")(interrupted)
    monkeypatch.setattr(main, "app", app)
    with pytest.raises(SystemExit) as caught:
        main.main([])
    assert caught.value.code == 130


def test_an_unknown_command_gives_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["no-such-command"])
    assert caught.value.code == 2
    assert "no-such-command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["build", "x", "--on-error", "bogus"],
            "Invalid value for '--on-error': 'bogus' is not one of",
        ),
        (["run", "logs", "--tail", "x"], "Invalid value for '--tail': it must be a valid integer"),
        (["image", "boot", "x", "--minutes", "0"], "'--minutes': it must be greater than or equal to 1"),
        (["key", "rotate", "bogus"], "Invalid value for 'purpose': 'bogus' is not one of"),
    ],
)
def test_a_wrong_value_is_refused_in_words_for_people(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(words)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert "Value error" not in printed.out + printed.err
    assert "parse" not in printed.out + printed.err


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    written = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["version"]
    with pytest.raises(SystemExit) as caught:
        main.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"vmkiln {written}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(shell: str) -> None:
    environment = {
        "_VMKILN_COMPLETE": f"complete_{shell}", "COMP_WORDS": "vmkiln az-", "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "vmkiln az-", "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    done = CliRunner().invoke(main.app, [], prog_name="vmkiln", env=environment)
    assert "az-setup" in done.output
    assert "serve" not in done.output.split()


def test_system_programs_are_found_after_the_users_own() -> None:
    assert main.search_path("/home/u/bin:/usr/bin") == "/home/u/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/sbin"
    assert main.search_path("/usr/sbin:/sbin:/usr/local/sbin") == "/usr/sbin:/sbin:/usr/local/sbin"
