"""Programs of another CPU run in a user namespace, by QEMU; `echo` stands in for it here."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vmkiln.azure_names import Architecture
from vmkiln.errors import HostUnfit
from vmkiln.host.foreign_cpu import emulated

# an ELF file of 64 bits, little endian, for AArch64: no more than the kernel looks at to find who runs it
ELF = bytes.fromhex("7f454c460201010000000000000000000200b700") + bytes(44)


def which(name: str) -> str | None:
    return f"/usr/bin/{name}" if name == "qemu-aarch64" else None


def test_the_command_comes_last_behind_the_format() -> None:
    texts = emulated(["mmdebstrap", "--mode=root", "a b"], Architecture.ARM64, which=which)
    assert texts[:2] == ["sh", "-c"]
    assert texts[-3:] == ["mmdebstrap", "--mode=root", "a b"]
    assert texts[-5] == "qemu-aarch64"
    assert texts[-4].startswith(r":qemu-aarch64:M::\x7fELF\x02")
    assert texts[-4].endswith(":/usr/bin/qemu-aarch64:OCF")


def test_what_is_missing_is_named_with_its_package() -> None:
    with pytest.raises(HostUnfit, match="programs of Arm64 cannot be run here") as refused:
        emulated(["true"], Architecture.ARM64, which=lambda _name: None)
    assert refused.value.hint == "install the package `qemu-user-static`"


def test_the_kernel_hands_such_a_program_to_the_interpreter(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(ELF)
    program.chmod(0o755)
    as_root = ["unshare", "--user", "--map-root-user", "--mount", "--"]
    refused = subprocess.run([*as_root, "true"], check=False).returncode
    release = tuple(int(number) for number in os.uname().release.split(".")[:2] if number.isdigit())
    if refused or release < (6, 7):
        pytest.skip("this kernel gives users no table of program formats")
    texts = emulated([str(program)], Architecture.ARM64, which=lambda _name: shutil.which("echo"))
    done = subprocess.run([*as_root, *texts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{program}\n"), done.stderr
