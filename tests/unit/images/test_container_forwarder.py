"""The way from Packer to a Windows VM's port: it holds, it passes on, and it never resets towards Packer."""

import contextlib
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmkiln.images import container_image

SCRIPT = Path(container_image.__file__).with_name("container_forwarder.pl")
SECONDS = 30


@contextlib.contextmanager
def forwarded(target: int) -> Iterator[int]:
    """The forwarder before a port; its own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with subprocess.Popen(["perl", str(SCRIPT), str(port), "127.0.0.1", str(target)]) as process:
        try:
            yield port
        finally:
            process.kill()


def connected(port: int) -> socket.socket:
    """A connection to a program that may still be starting."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def pair(server: socket.socket, port: int) -> tuple[socket.socket, socket.socket]:
    """Packer's end and the VM's."""
    client = connected(port)
    client.sendall(b"hello")
    accepted, _ = server.accept()
    accepted.settimeout(SECONDS)
    assert accepted.recv(5) == b"hello"
    return client, accepted


@pytest.fixture(name="server")
def server_() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        yield listener


def test_a_reset_of_the_vm_is_an_end_to_packer_also_with_bytes_unread(server: socket.socket) -> None:
    with forwarded(server.getsockname()[1]) as port:
        client, accepted = pair(server, port)
        with client:
            accepted.sendall(b"half an answer")
            assert client.recv(100) == b"half an answer"
            client.sendall(b"x" * 300_000)  # more than the forwarder can be rid of
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            assert client.recv(100) == b"", "an end, and no ConnectionResetError"
            client.sendall(b"what Packer still says is read")


def test_what_the_vm_said_before_it_ended_arrives(server: socket.socket) -> None:
    with forwarded(server.getsockname()[1]) as port:
        client, accepted = pair(server, port)
        with client, accepted:
            accepted.sendall(b"y" * 1_000_000)
            accepted.shutdown(socket.SHUT_RDWR)
            with client.makefile("rb") as file:
                assert len(file.read()) == 1_000_000


def test_both_ways_are_passed_on_whole_and_in_order(server: socket.socket) -> None:
    data = bytes(range(256)) * 8192
    with forwarded(server.getsockname()[1]) as port:
        client, accepted = pair(server, port)
        with client, accepted:
            for sender, receiver in ((client, accepted), (accepted, client)):
                got = bytearray()
                sender.setblocking(False)
                sent = 0
                while len(got) < len(data):
                    with contextlib.suppress(BlockingIOError):
                        sent += sender.send(data[sent : sent + 65536])
                    receiver.settimeout(0.05)
                    with contextlib.suppress(TimeoutError):
                        got += receiver.recv(65536)
                assert got == data
                sender.settimeout(SECONDS)
                receiver.settimeout(SECONDS)


def test_a_connection_is_held_until_the_vms_port_opens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        target = int(probe.getsockname()[1])
    with forwarded(target) as port, connected(port) as client:
        client.sendall(b"are you there")
        with socket.create_server(("127.0.0.1", target)) as late:
            late.settimeout(SECONDS)
            accepted, _ = late.accept()
            with accepted:
                assert accepted.recv(100) == b"are you there"
                accepted.sendall(b"now")
                assert client.recv(100) == b"now"


def test_a_vm_that_was_there_and_is_not_is_told_by_an_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(SECONDS)
        target = server.getsockname()[1]
        stack = contextlib.ExitStack()
        port = stack.enter_context(forwarded(target))
        client, accepted = pair(server, port)
    with stack, client, accepted, connected(port) as later:
        later.sendall(b"what did the command of before say")
        assert later.recv(100) == b""


def test_packer_leaving_ends_the_connection_to_the_vm(server: socket.socket) -> None:
    with forwarded(server.getsockname()[1]) as port:
        client, accepted = pair(server, port)
        with accepted:
            client.close()
            assert accepted.recv(100) == b""


def test_of_too_many_connections_one_with_nothing_asked_makes_room(server: socket.socket) -> None:
    most = 400
    with contextlib.ExitStack() as stack, forwarded(server.getsockname()[1]) as port:
        pairs = [pair(server, port) for _ in range(most)]
        for client, accepted in pairs:
            stack.enter_context(client)
            stack.enter_context(accepted)
        asked = pairs[0]
        for _, accepted in pairs[1:3]:
            accepted.sendall(b"answered")
        for client, _ in pairs[1:3]:
            assert client.recv(100) == b"answered"
        more = [stack.enter_context(end) for end in pair(server, port)]
        assert pairs[1][0].recv(100) == b"", "the one whose last word was the VM's, and the oldest of those"
        asked[1].sendall(b"here")
        assert asked[0].recv(100) == b"here"
        assert more


def test_the_kernel_asks_a_silent_vm_whether_it_is_there(server: socket.socket) -> None:
    with forwarded(server.getsockname()[1]) as port:
        client, accepted = pair(server, port)
        with client, accepted:
            source = accepted.getpeername()[1]
            shown = subprocess.run(
                ["ss", "-tno", "state", "established", f"( sport = :{source} )"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert "timer:(keepalive," in shown.stdout
