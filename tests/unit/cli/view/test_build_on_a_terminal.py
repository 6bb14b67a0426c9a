"""`vmkiln build` on a real terminal: what its live view leaves there, and what Ctrl-C does, typed once and again."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import CTRL_C, HIDDEN, SHOWN, Terminal

TESTS = Path(__file__).parents[3]
TEMPLATE = {
    "type": "Microsoft.VirtualMachineImages/imageTemplates",
    "apiVersion": "2025-10-01",
    "name": "web",
    "location": "westus2",
    "identity": {"type": "None"},
    "properties": {
        "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12-gen2"},
        "customize": [{"type": "Shell", "inline": ["true"]}],
        "distribute": [{"type": "VHD", "runOutputName": "vhd"}],
    },
}


class Build(Terminal):
    """A terminal on which a build with a stand-in for its VMs is at work; it ends its clean-up when it is released."""

    def __init__(self, folder: Path) -> None:
        self.release = folder / "release"
        (folder / "template.json").write_text(json.dumps(TEMPLATE))
        environment = {
            "HOME": str(folder),
            "VMKILN_HOME": str(folder / "home"),
            "PATH": "/usr/bin:/bin",
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
        }
        words = [str(self.release), "build", str(folder / "template.json")]
        super().__init__([sys.executable, "-m", "stand_ins.live_build", *words], environment=environment)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Build]:
    opened = Build(tmp_path)
    try:
        opened.read_until("the step goes on")
        yield opened
    finally:
        opened.close()


def test_ctrl_c_is_answered_at_once_and_waits_for_the_clean_up(terminal: Build) -> None:
    terminal.read_until("hello from the guest")
    terminal.type(CTRL_C)
    terminal.read_until("cancelling; everything temporary is being deleted")
    assert terminal.process.poll() is None, "it cleans up"
    terminal.type(CTRL_C)
    terminal.read_until("still cleaning up; wait a moment")
    assert terminal.process.poll() is None, "pressed again, it cleans up all the same"
    terminal.release.touch()
    assert terminal.read_to_end() == 130
    assert b"everything temporary is deleted" in terminal.told
    assert b"Traceback" not in terminal.told


def test_a_cancelled_build_leaves_the_terminal_as_it_was(terminal: Build) -> None:
    assert HIDDEN in terminal.told
    terminal.release.touch()
    terminal.type(CTRL_C)
    assert terminal.read_to_end() == 130
    assert terminal.told.rfind(SHOWN) > terminal.told.rfind(HIDDEN), "the cursor is back"
    assert b"Customizing" not in terminal.last_line, "the live line is gone"
