"""The scripts: executable, clean, helpful, and promising no more than they do."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vmkiln.host.doctor.required_programs import REQUIRED_PROGRAMS

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in (ROOT / "script").iterdir() if path.is_file())


@pytest.mark.parametrize("path", [*SCRIPTS, ROOT / ".ci/run"], ids=lambda path: path.name)
def test_a_script_is_executable_and_stops_at_the_first_error(path: Path) -> None:
    assert os.access(path, os.X_OK)
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines


@pytest.mark.parametrize("path", [*SCRIPTS, ROOT / ".ci/run"], ids=lambda path: path.name)
def test_a_script_is_clean(path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.fail("shellcheck is not installed: run `script/bootstrap --with-tests`")
    checked = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_has_help_and_refuses_what_it_does_not_know(path: Path) -> None:
    shown = subprocess.run([path, "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"usage: script/{path.name}")


FAILS_ONCE = """
from pathlib import Path
HERE = Path(__file__).parent
def test_fails_beside_others():
    seen = HERE / "seen"
    was_there = seen.exists()
    seen.touch()
    assert was_there
def test_passes():
    with (HERE / "passed").open("a") as file:
        file.write("once ")
"""
FAILS_ALWAYS = "def test_fails(): assert False\n"
FAILS_MUCH = "import pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_fails(n): assert False\n"


def _tried(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    """What the two functions of `script/test` that try tests say of a folder of tests."""
    (folder / "test_some.py").write_text(tests)
    (folder / "caches").mkdir()
    functions = re.search(
        r"^first_time\(\).*?(?=^in_lanes\(\))", (ROOT / "script/test").read_text(), re.DOTALL | re.MULTILINE
    )
    assert functions is not None
    program = (
        f"set -euo pipefail; caches={folder}/caches most_tried_again=3 status=0; say() {{ echo $*; }}\n{functions[0]}\n"
        "first_time some test_some.py || status=$?; once_more $status some test_some.py"
    )
    bare = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plugins take longer to start than these tests to run
    return subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False, cwd=folder, env=bare)


def test_a_test_that_fails_beside_others_is_tried_again_and_told(tmp_path: Path) -> None:
    tried = _tried(tmp_path, FAILS_ONCE)
    assert tried.returncode == 0, tried.stdout
    assert "FLAKY: failed beside other tests, passed by itself: test_some.py::test_fails_beside_others" in tried.stdout
    assert (tmp_path / "passed").read_text() == "once ", "what passed is not tried again"


@pytest.mark.parametrize(("tests", "is_tried_again"), [(FAILS_ALWAYS, True), (FAILS_MUCH, False), ("1 / 0", False)])
def test_a_test_that_fails_again_fails_the_run(tests: str, is_tried_again: bool, tmp_path: Path) -> None:
    tried = _tried(tmp_path, tests)
    assert tried.returncode != 0
    assert ("tried once more" in tried.stdout) == is_tried_again
    assert "FLAKY" not in tried.stdout


def test_the_long_tier_begins_nothing_after_three_hours() -> None:
    text = (ROOT / "script/test").read_text()
    [whole], [roots] = re.findall(r"--session-timeout=(\d+)", text), re.findall(r"--long --timeout=(\d+)", text)
    assert int(whole) + int(roots) <= 3 * 3600


def test_the_tests_tell_their_tiers_and_how_a_day_is_repeated() -> None:
    shown = subprocess.run([ROOT / "script/test", "--help"], capture_output=True, text=True, check=True).stdout
    for word in ("--long", "--fast", "VMKILN_TEST_SEED", "tests/tiers.py", "docs/long-tests.md"):
        assert word in shown


def test_bootstrap_refuses_an_unknown_option() -> None:
    refused = subprocess.run([ROOT / "script/bootstrap", "--frobnicate"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "--frobnicate" in refused.stderr


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH on which a fresh machine's programs are, and nothing that builds need."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("awk", "bash", "cat", "cut", "dirname", "env", "getent", "grep", "head", "id", "stat", "timeout"):
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


def planned_on(path: Path) -> str:
    planned = subprocess.run(
        ["/usr/bin/env", "-i", f"PATH={path}", ROOT / "script/bootstrap", "--dry-run", "--system-only"],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return planned.stderr


def test_bootstrap_names_what_is_missing_and_how_it_would_be_installed(bare_path: Path) -> None:
    plan = planned_on(bare_path)
    assert re.search(r"system packages: .*qemu-system-x86 .*passt ", plan)
    assert re.search(r"system packages: .* packer |Packer 1\.9\.5 ", plan)  # the latter where there is no package
    assert re.search(r"# .*apt-get install .*qemu-system-x86 ", plan)


def test_bootstrap_takes_a_packer_on_path_as_it_is(bare_path: Path) -> None:
    packer = bare_path / "packer"
    packer.write_text("#!/bin/sh\necho Packer v1.9.5\n")
    packer.chmod(0o755)
    plan = planned_on(bare_path)
    assert "qemu-system-x86" in plan
    assert "packer" not in plan


@pytest.mark.skipif(os.geteuid() == 0, reason="root is who may")
def test_only_root_can_become_another_user() -> None:
    script = ROOT / "script/as-ordinary-user"
    refused = subprocess.run([script, "nobody", "script/demo"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "only root" in refused.stderr


def test_ci_calls_script_test_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'exec "$(dirname -- "${BASH_SOURCE[0]}")/../script/test"']


def test_bootstrap_installs_every_program_that_doctor_looks_for() -> None:
    text = (ROOT / "script/bootstrap").read_text()
    essential = {"util-linux", "dpkg"}  # on every Debian
    packages = {program.package for program in REQUIRED_PROGRAMS} - essential
    missing = {package for package in packages if not re.search(rf"need {package} |missing\+=\({package}\)", text)}
    # newgidmap comes with newuidmap's package; the rest must be asked for by name
    assert not missing


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    copy.mkdir()
    shutil.copytree(ROOT / "script", copy / "script")
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, copy / name)
    before = sorted(path for path in copy.rglob("*"))
    planned = subprocess.run(
        [copy / "script/bootstrap", "--dry-run"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert planned.returncode == 0, planned.stderr
    assert "would make the Python environment" in planned.stderr
    assert sorted(path for path in copy.rglob("*")) == before
