"""The file that a jailed program has for a VM's RAM: a copy of its own of what was saved, or no program at all."""

import asyncio
import os
from pathlib import Path

from vmkiln.host import namespace
from vmkiln.host.confinement import vm_jail
from vmkiln.host.confinement.program_files import program_files
from vmkiln.host.namespace import Ended
from vmkiln.host.qemu import MEMORY_INSIDE, Accelerator, Machine, SavedVm
from vmkiln.host.saved.memory_file import digest_of

MIB = 1024**2
MEMORY_MIB = 200  # more than its root has beside it
AT = 150 * MIB
TRIES = r"""
$| = 1;
open my $memory, '+<', '/memory' or die "no memory: $!";
seek $memory, $ARGV[0], 0;
read $memory, my $was, 5;
print "it was $was\n";
seek $memory, $ARGV[0], 0;
print "written\n" if syswrite $memory, 'poison';
open my $beside, '>', '/memory2' or print "nothing beside it\n";
unlink '/memory' or print "it stays\n";
for my $path ($ARGV[1], '/proc/self/fd') { print "no $path\n" unless -e $path }
seek $memory, 0, 2;
print "size ", tell $memory, "\n";
sleep 60;
"""


def saved_in(folder: Path) -> SavedVm:
    path = folder / "memory"
    with path.open("wb") as file:
        file.truncate(MEMORY_MIB * MIB)
        file.seek(AT)
        file.write(b"saved")
    path.chmod(0o400)
    with path.open("rb") as file:
        return SavedVm(path, digest_of(file.fileno()), folder / "devices", "d")


async def jailed(saved: SavedVm, kept: Path | None = None) -> tuple[list[str], Ended | None, str]:
    """What a program in QEMU's place says, how it ended where it did, and the digest of what was kept of its memory."""
    console = Path("/run/console")
    machine = Machine("vm", Accelerator.TCG, 1, MEMORY_MIB, (), "tap", "m", console, console, saved=saved)
    files = await program_files("perl")
    lines: list[str] = []
    all_said = asyncio.Event()

    def hear(line: str) -> None:
        lines.append(line)
        if line.startswith("size"):
            all_said.set()

    async with namespace.opened() as inside, asyncio.timeout(60):
        meant = vm_jail.confinement_of(machine, files, own_id=inside.next_vm_id())
        arguments = [files.program, "-e", TRIES, str(AT), str(saved.memory)]
        confined = {**meant.described(), "descriptors": []}
        confined["jail"]["limits"]["RLIMIT_FSIZE"] = MEMORY_MIB * MIB  # which a VM may not write to but as its RAM
        async with inside.start("vm", arguments, confined=confined, on_line=hear) as ended:
            said = asyncio.create_task(all_said.wait())
            await asyncio.wait([said, ended], return_when=asyncio.FIRST_COMPLETED)
            said.cancel()
            digest = "" if kept is None else await inside.keep_memory("vm", kept)
            return lines, ended.result() if ended.done() else None, digest


async def test_a_jailed_program_writes_to_a_copy_that_is_its_own(tmp_path: Path) -> None:
    saved = saved_in(tmp_path)
    lines, ended, digest = await jailed(saved, tmp_path / "kept")
    assert ended is None
    assert lines == [
        "it was saved",
        "written",
        "nothing beside it",
        "it stays",
        f"no {saved.memory}",
        "no /proc/self/fd",
        f"size {MEMORY_MIB * MIB}",
    ]
    with saved.memory.open("rb") as file:
        assert digest_of(file.fileno()) == saved.memory_digest
    with (tmp_path / "kept").open("rb") as file:
        assert digest_of(file.fileno()) == digest
        assert os.pread(file.fileno(), 6, AT) == b"poison"
        assert os.fstat(file.fileno()).st_blocks * 512 < 1024**2, "its holes are holes"
    assert digest != saved.memory_digest


async def test_one_whose_saved_memory_was_changed_is_not_started(tmp_path: Path) -> None:
    saved = saved_in(tmp_path)
    saved.memory.chmod(0o600)
    with saved.memory.open("r+b") as file:
        file.seek(7)
        file.write(b"\1")
    lines, ended, _ = await jailed(saved)
    assert lines == []
    assert ended is not None
    assert (ended.status, MEMORY_INSIDE) == (126, "/memory")
    assert "the saved memory is not what was saved" in ended.output
