"""A pipe that nobody reads any more ends a command, without a word and after its clean-up."""

import subprocess
import sys
from pathlib import Path

import pytest

# each line of standard input as a command of its own, whose standard output nobody reads
SHORT_ANSWERS = """
import os, sys
from vmkiln.cli.main import main

lines = sys.stdin.read().splitlines()
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 1)
for line in lines:
    if not (child := os.fork()):
        main(line.split())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 141:
        print(line, "ended with", status, file=sys.stderr)
"""

# what prints from an event loop, or from a thread of it, until it is cancelled
ENDLESS = """
import asyncio, sys, typer
from vmkiln.cli import main
from vmkiln.cli.interrupts import run_to_end

app = typer.Typer()

async def endless(is_in_thread):
    try:
        while True:
            if is_in_thread:
                await asyncio.to_thread(typer.echo, "line")
            else:
                typer.echo("line")
                await asyncio.sleep(0)
    finally:
        typer.echo("nobody reads this")
        typer.echo("cleaned up", err=True)

@app.command()
def wait() -> None:
    run_to_end(endless(sys.argv[1] == "thread"))

main.app = app
main.main([])
"""


def unread(script: str, *arguments: str, given: str = "", home: Path) -> subprocess.CompletedProcess[str]:
    """A Python process after whose first line nobody reads its standard output: what it said, and its status."""
    environment = {"HOME": str(home), "VMKILN_HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(given)
        process.stdin.close()
        first = process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    return subprocess.CompletedProcess(command, process.returncode, first, said)


def test_a_short_answer_ends_quietly_when_nobody_reads_it(tmp_path: Path) -> None:
    done = unread(
        SHORT_ANSWERS, given="--version\n--help\nrun --help\nbuild --help\nrun cancel --help\n", home=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_long_answer_ends_quietly_when_nobody_reads_on(tmp_path: Path) -> None:
    script = "import sys; from vmkiln.cli.main import main; main(sys.argv[1:])"
    for words in (["image", "catalogue"], ["settings", "--describe"]):
        done = unread(script, *words, home=tmp_path)
        assert done.stdout, words
        assert (done.returncode in {0, 141}, done.stderr) == (True, ""), words  # a short one was in the pipe already


@pytest.mark.parametrize("where", ["loop", "thread"])
def test_what_goes_on_cleans_up_when_nobody_reads_it(where: str, tmp_path: Path) -> None:
    done = unread(ENDLESS, where, home=tmp_path)
    assert done.returncode == 141
    assert done.stderr == "cancelling; everything temporary is being deleted\ncleaned up\n"


def on_a_full_disk(script: str, *arguments: str, descriptor: int, home: Path) -> subprocess.CompletedProcess[str]:
    """A Python process of which one standard file takes nothing."""
    environment = {"HOME": str(home), "VMKILN_HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-c", script, *arguments]
    with Path("/dev/full").open("w") as full:
        out, err = (full, subprocess.PIPE) if descriptor == 1 else (subprocess.PIPE, full)
        return subprocess.run(command, env=environment, stdout=out, stderr=err, text=True, check=False)


COMMAND = "import sys; from vmkiln.cli.main import main; main(sys.argv[1:])"


@pytest.mark.parametrize("words", ["--version", "settings --json", "run show 0123 --json"])
def test_an_answer_that_finds_no_room_is_told_and_fails(words: str, tmp_path: Path) -> None:
    done = on_a_full_disk(COMMAND, *words.split(), descriptor=1, home=tmp_path)
    assert (done.returncode, done.stderr) == (1, "error: standard output takes nothing more: No space left on device\n")


def test_words_that_find_no_room_are_lost_and_the_command_goes_on(tmp_path: Path) -> None:
    done = on_a_full_disk(COMMAND, "run", "show", "0123", "--json", descriptor=2, home=tmp_path)
    assert done.returncode == 2
    assert '"exitCode": 2' in done.stdout


def test_what_goes_on_cleans_up_when_there_is_no_room_for_its_words(tmp_path: Path) -> None:
    done = on_a_full_disk(ENDLESS, "loop", descriptor=1, home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[:2] == ["cancelling; everything temporary is being deleted", "cleaned up"]
    assert done.stderr.endswith("error: standard output takes nothing more: No space left on device\n")


def test_a_reader_of_errors_alone_who_leaves_ends_nothing(tmp_path: Path) -> None:
    script = "import os, sys, typer; from vmkiln.lifetime import closed_output; "
    script += "reading, writing = os.pipe(); os.dup2(writing, 2); os.close(reading); "
    script += "closed_output.watch(); typer.echo('lost', err=True); typer.echo('kept'); sys.stdout.flush()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (0, "kept\n")


def test_a_file_that_the_caller_closed_is_no_other_file(tmp_path: Path) -> None:
    script = "import os; from vmkiln.lifetime import closed_output; closed_output.watch(); print('lost', flush=True); "
    script += f"os.write(2, str(os.open({str(tmp_path / 'kept')!r}, os.O_RDWR | os.O_CREAT)).encode())"
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, script], capture_output=True, check=False
    )
    assert (done.returncode, int(done.stderr) > 2) == (0, True)
    assert (tmp_path / "kept").read_text() == ""


def test_a_file_that_the_caller_closed_leads_nowhere_for_programs_too(tmp_path: Path) -> None:
    script = "import os, subprocess, sys; from vmkiln.lifetime import closed_output; closed_output.watch(); "
    script += "program = f'test -e /proc/self/fd/{sys.argv[1]} && echo there >&{sys.argv[2]}'; "
    script += "subprocess.run(['sh', '-c', program], check=True)"
    for descriptor, other in ((0, 2), (1, 2), (2, 1)):
        command = ["sh", "-c", f'exec "$0" -c "$1" {descriptor} {other} {descriptor}>&-', sys.executable, script]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stdout + done.stderr) == (0, b"there\n"), descriptor
