"""The process that supervisors begin as copies of: it has loaded their modules, and does nothing else.

An interpreter that loads them anew takes a tenth of a second of a processor, for each run; a copy takes a few
milliseconds. It knows nothing of any run, and it has one thread, so that a copy begins in order. It is started by
`host/copies/launching.py` and speaks messages over one inherited socket, each order and its answer with a number:
`start`, with the descriptors that the copy keeps, of which the first is its control socket, is answered by `started
ID`, or `failed ERRNO`; `end ID`, which kills a copy with its process group, by `ended ID` when it has been reaped. When
the socket closes it ends, and what it started with it.
"""

import contextlib
import os
import signal
import socket
import traceback
from importlib import import_module

from vmkiln.host import command, supervisor
from vmkiln.host.confinement import kernel_calls

# what copies of a supervisor run; here by their names, for they are of layers above
LOADED = (
    "vmkiln.host.egress.resolver_program",
    "vmkiln.host.egress.name_proxy",
    "vmkiln.host.addressing.dhcp_program",
    "vmkiln.host.network.flow_program",
)
MOST_DESCRIPTORS = 4
MOST_MESSAGE_BYTES = 64
NAME = "supervisor"


def main(descriptor: int) -> int:
    """Serve until the socket closes."""
    orders = socket.socket(fileno=descriptor)
    for name in LOADED:
        import_module(name)
    while True:
        data, inherited, _, _ = socket.recv_fds(orders, MOST_MESSAGE_BYTES, MOST_DESCRIPTORS)
        match data.decode().split():
            case [number, "start"]:
                orders.send(f"{number} {_started(orders, inherited)}".encode())
            case [number, "end", process_id]:
                orders.send(f"{number} ended {ended(int(process_id))}".encode())
            case _:
                return 0


def _started(orders: socket.socket, inherited: list[int]) -> str:
    """What the answer says; of a machine that has no room for one process more, too, for the others go on."""
    try:
        return f"started {_forked(orders, inherited)}"
    except OSError as error:
        return f"failed {error.errno}"
    finally:
        for descriptor in inherited:
            os.close(descriptor)


def _forked(orders: socket.socket, inherited: list[int]) -> int:
    ours = os.getpid()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            orders.close()
            os.setsid()
            kernel_calls.name_process(NAME)
            command.die_with_parent()
            if os.getppid() == ours:  # or it ended before it could be asked to end us
                status = supervisor.main(inherited[0])
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def ended(process_id: int) -> int:
    """Kill a copy, and what is of its group, and reap it; finds nothing and is content."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, process_id, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # or the id is another's by now
        for kill in (os.killpg, os.kill):  # one that has just begun has no group yet, and would be waited for
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(process_id, signal.SIGKILL)
        os.waitpid(process_id, 0)
    return process_id
