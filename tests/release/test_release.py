"""A release: what is in its two files, that the wheel works alone, and what is refused."""

import os
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
LINKED = (".venv", ".venv-uv")


def release(checkout: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "script/release", *options], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a release that was built and tried."""
    output = tmp_path_factory.mktemp("release")
    done = release(ROOT, "--rehearse", "--output", str(output))
    assert done.returncode == 0, done.stderr
    assert f"vmkiln-{VERSION}.tar.gz" in done.stdout
    return output


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout with the same environment, whose files a test may change."""
    copy = tmp_path / "checkout"
    shutil.copytree(
        ROOT, copy, ignore=lambda _, names: [name for name in names if name.startswith(".") or name == "tests"]
    )
    for name in LINKED:
        (copy / name).symlink_to(ROOT / name)
    (copy / ".gitignore").write_text("\n".join(LINKED))
    (copy / "script/bootstrap").write_text("#!/bin/sh\n")
    return copy


def committed(checkout: Path) -> None:
    identity = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    for name in ("AUTHOR", "COMMITTER"):
        identity |= {f"GIT_{name}_NAME": "a", f"GIT_{name}_EMAIL": "a@example.com"}
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=checkout, check=True, env=identity)


def test_the_wheel_has_every_file_of_the_package_and_the_licence(built: Path) -> None:
    there = set(zipfile.ZipFile(built / f"vmkiln-{VERSION}-py3-none-any.whl").namelist())
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "vmkiln").rglob("*") if path.is_file()}
    wanted = {name for name in files if "__pycache__" not in name}
    assert wanted - there == set()
    assert "vmkiln/py.typed" in there
    assert f"vmkiln-{VERSION}.dist-info/licenses/LICENSE" in there
    assert {name.split("/")[0] for name in there} == {"vmkiln", f"vmkiln-{VERSION}.dist-info"}


def test_the_source_archive_has_what_its_users_need_and_nothing_hidden(built: Path) -> None:
    with tarfile.open(built / f"vmkiln-{VERSION}.tar.gz") as archive:
        there = {name.split("/")[1] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "docs", "tests", "script", "requirements.lock"} <= there
    assert not there & {".git", ".venv", ".venv-uv", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def test_a_wheel_that_misses_a_package_is_not_released(checkout: Path, tmp_path: Path) -> None:
    project = checkout / "pyproject.toml"
    missing = [line for line in project.read_text().splitlines() if '"qemu.qmp' not in line]
    project.write_text("\n".join(missing) + "\n")
    refused = release(checkout, "--rehearse", "--output", str(tmp_path / "output"))
    assert refused.returncode != 0
    assert "No module named 'qemu'" in refused.stderr
    assert not (tmp_path / "output").exists()


def test_a_checkout_with_changes_is_refused(checkout: Path) -> None:
    committed(checkout)
    (checkout / "README.md").write_text("changed")
    refused = release(checkout)
    assert refused.returncode == 1
    assert "has changes" in refused.stderr


def test_a_version_that_the_changelog_does_not_tell_of_is_refused(checkout: Path) -> None:
    project = checkout / "pyproject.toml"
    project.write_text(project.read_text().replace(f'version = "{VERSION}"', 'version = "99.0.0"', 1))
    committed(checkout)
    refused = release(checkout)
    assert refused.returncode == 1
    assert "not the one of version 99.0.0" in refused.stderr
