"""The way into a held VM ends in order when the VM's ssh server closes it, and with an error when it breaks off."""

import os
import pty
import shutil
import socket
import struct
import subprocess
import tty
from pathlib import Path

import pytest

from vmkiln.run.held import shell_group

WIRE = Path(shell_group.__file__).with_name(shell_group.WIRE)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds: what is closed is reset


@pytest.mark.skipif(shutil.which("perl") is None, reason="the program is one of Perl's")
@pytest.mark.parametrize("is_reset", [False, True])
def test_a_way_that_breaks_off_is_not_taken_for_one_that_ended(is_reset: bool, tmp_path: Path) -> None:
    outside, port = pty.openpty()
    tty.setraw(port)
    (tmp_path / "vport1p3").symlink_to(os.ttyname(port))
    program = WIRE.read_text().replace("'/dev'", f"'{tmp_path}'").replace('"/dev/', f'"{tmp_path}/')
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        arguments = ["perl", "-e", program, "127.0.0.1", str(listening.getsockname()[1]), "3"]
        with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
            ssh_server, _ = listening.accept()
            with ssh_server:
                os.write(outside, b"hello")
                assert ssh_server.recv(5, socket.MSG_WAITALL) == b"hello"
                ssh_server.sendall(b"there")
                assert os.read(outside, 5) == b"there"
                if is_reset:
                    ssh_server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            _, said = process.communicate(timeout=60)
    os.close(outside)
    os.close(port)
    assert (process.returncode != 0) == is_reset
    assert ("the connection to the VM: Connection reset by peer" in said) == is_reset
