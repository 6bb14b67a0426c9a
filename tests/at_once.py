"""Runs a function in many processes at the same moment, again and again, as when a host's first builds begin together.

One process imports what is needed and then forks, so that nothing but the function takes time.
"""

import importlib
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SECONDS = 180


def at_once(function: Callable[..., Any], rounds: Sequence[tuple[Any, ...]], *, processes: int = 8) -> list[list[Any]]:
    """What each process returned in each round; fails with the first one's traceback when one raised.

    Each round has its own arguments. `function` is one of a module's own.
    """
    folder = Path(sys.modules[function.__module__].__file__ or "").parent
    asked = pickle.dumps((function.__module__, function.__name__, list(rounds), processes))
    path = os.pathsep.join([str(folder), str(Path(__file__).parent), *sys.path])
    command = [sys.executable, __file__]
    answer = subprocess.run(
        command, input=asked, env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=False, timeout=SECONDS
    )
    assert answer.returncode == 0, answer.stderr.decode()
    found: list[list[tuple[str, Any]]] = pickle.loads(answer.stdout)  # noqa: S301 (our own process wrote it)
    problems = [problem for one in found for problem, _ in one if problem]
    assert not problems, f"{len(problems)} of {len(found)} times {processes} failed:\n{problems[0]}"
    return [[value for _, value in one] for one in found]


def _one_round(function: Callable[..., Any], arguments: tuple[Any, ...], processes: int) -> list[tuple[str, Any]]:
    gate_read, gate_write = os.pipe()
    ends = []
    for _ in range(processes):
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(gate_write)
            os.read(gate_read, 1)  # until the gate is closed, for all at once
            try:
                answer = pickle.dumps(("", function(*arguments)))
            except BaseException:
                answer = pickle.dumps((traceback.format_exc(), None))
            with os.fdopen(write, "wb") as file:
                file.write(answer)
            os._exit(0)
        os.close(write)
        ends.append(read)
    os.close(gate_read)
    os.close(gate_write)
    found = []
    for read in ends:
        with os.fdopen(read, "rb") as file:
            found.append(pickle.loads(file.read()))  # noqa: S301 (our own process wrote it)
    for _ in range(processes):
        os.wait()
    return found


def _main() -> None:
    module, name, rounds, processes = pickle.load(sys.stdin.buffer)  # noqa: S301 (our own process wrote it)
    function = getattr(importlib.import_module(module), name)
    pickle.dump([_one_round(function, arguments, processes) for arguments in rounds], sys.stdout.buffer)


if __name__ == "__main__":
    _main()
