"""The finder of blocking calls finds each kind of them, and nothing else."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from blocking_calls import BIG, ROOT, SERVING_COMMANDS, STAND_INS, Watch, watched

BLOCKING = {
    "open": "open(FILE).close()",
    "os.open": "os.close(os.open(FILE, os.O_RDONLY))",
    "read_text": "pathlib.Path(FILE).read_text()",
    "mkdir": "os.mkdir(FILE + '-folder')",
    "rename": "os.rename(FILE, FILE)",
    "unlink": "pathlib.Path(FILE + '-none').unlink(missing_ok=True)",
    "rmtree": "shutil.rmtree(FILE + '-none', ignore_errors=True)",
    "fsync": "durable_file.sync(pathlib.Path(FILE))",
    "lock": "fcntl.flock(LOCKED, fcntl.LOCK_SH)",
    "SQLite": "sqlite3.connect(FILE + '.sqlite').close()",
    "a statement": "query()",
    "scrypt": "hashlib.scrypt(b'x', salt=b'y', n=2, r=1, p=1)",
    "a hash at once": "hashlib.sha256(bytes(BIG + 1))",
    "a hash in parts": "hashlib.sha256().update(bytes(BIG + 1))",
    "json.loads": "json.loads('[' + '1,' * BIG + '1]')",
    "json.dumps": "json.dumps([1] * BIG)",
    "a page": "jinja2.Template('{{ x }}').render(x=1)",
    "certificates": "ssl.create_default_context()",
    "a name": "socket.getaddrinfo('localhost', 80)",
    "a connection": "connect()",
    "a process": "subprocess.run(['true'])",
    "time": "time.sleep(0.001)",
    "an event": "threading.Event().wait(0.001)",
    "a thread": "THREAD.join(0.001)",
    "a future": "concurrent.futures.Future().exception(0.001)",
}
HARMLESS = {
    "a small hash": "hashlib.sha256(b'x').hexdigest()",
    "a small text": "json.loads(json.dumps({'a': 1}))",
    "what is no disk": "open('/proc/self/stat').close()",
    "a lock that is not waited for": "fcntl.flock(LOCKED, fcntl.LOCK_SH | fcntl.LOCK_NB)",
    "an event that has come": "EVENT.wait()",
    "a thread that starts": "threading.Thread(target=int).start()",
}
MODULES = (
    "concurrent.futures contextlib fcntl hashlib jinja2 json os pathlib shutil socket sqlalchemy sqlite3 ssl "
    "subprocess threading time"
)
SOURCE = """
def query():
    engine = sqlalchemy.create_engine('sqlite://')
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text('SELECT 1'))
    engine.dispose()

def connect():
    with socket.socket() as one:
        one.connect_ex(('127.0.0.1', 1))

async def control():
    with contextlib.suppress(TimeoutError):
        {statement}

def call():
    with contextlib.suppress(TimeoutError):
        {statement}

async def call_off_loop():
    await off_loop.off_loop(call)
"""


def functions(statement: str, folder: Path, file: str) -> dict[str, Any]:
    """Coroutines that look as if they stood in a file."""
    names: dict[str, Any] = {"BIG": BIG, "FILE": str(folder / "file")}
    (folder / "file").touch()
    names["LOCKED"] = os.open(folder / "file", os.O_RDONLY)
    names["EVENT"] = threading.Event()
    names["EVENT"].set()
    names["OVER"] = threading.Event()
    names["THREAD"] = threading.Thread(target=names["OVER"].wait)
    names["THREAD"].start()
    imports = "\n".join(f"import {name}" for name in MODULES.split())
    imports += "\nfrom vmkiln.files import durable_file\nfrom vmkiln.waiting import off_loop"
    text = f"{imports}\n{SOURCE.format(statement=statement)}"
    exec(compile(text, str(ROOT / file), "exec"), names)  # noqa: S102 (our own text, as if it stood elsewhere)
    return names


def found(
    statement: str, folder: Path, *, file: str = "vmkiln/control.py", function: str = "control"
) -> tuple[Watch, set[str]]:
    names = functions(statement, folder, file)
    work: Callable[[], Coroutine[Any, Any, None]] = names[function]
    try:
        with watched() as watch:
            asyncio.run(work())
    finally:
        os.close(names["LOCKED"])
        names["OVER"].set()
        names["THREAD"].join()
    return watch, {blocked.owner.split(":")[0] for blocked in watch.found}


@pytest.mark.parametrize("statement", BLOCKING.values(), ids=BLOCKING.keys())
def test_a_blocking_call_on_purpose_is_found(statement: str, tmp_path: Path) -> None:
    watch, owners = found(statement, tmp_path)
    assert owners == {"vmkiln/control.py"}
    assert "control.py:" in watch.report()


@pytest.mark.parametrize("statement", BLOCKING.values(), ids=BLOCKING.keys())
def test_the_same_call_off_the_loop_is_not_found(statement: str, tmp_path: Path) -> None:
    watch, _ = found(statement, tmp_path, function="call_off_loop")
    assert watch.found == set()


@pytest.mark.parametrize("statement", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_does_not_block_is_not_found(statement: str, tmp_path: Path) -> None:
    watch, _ = found(statement, tmp_path)
    assert watch.found == set()


def test_what_a_test_does_itself_is_not_found(tmp_path: Path) -> None:
    watch, _ = found(BLOCKING["open"], tmp_path, file="tests/unit/test_something.py")
    assert watch.found == set()


def test_what_stands_in_for_the_product_is_found(tmp_path: Path) -> None:
    _, owners = found(BLOCKING["open"], tmp_path, file="tests/stub_build.py")
    assert owners == {"tests/stub_build.py"}


def test_a_function_that_the_loop_calls_by_itself_is_found(tmp_path: Path) -> None:
    names = functions(BLOCKING["open"], tmp_path, "vmkiln/control.py")

    async def main() -> None:
        asyncio.get_running_loop().call_soon(names["call"])
        await asyncio.sleep(0.01)

    try:
        with watched() as watch:
            asyncio.run(main())
    finally:
        os.close(names["LOCKED"])
        names["OVER"].set()
        names["THREAD"].join()
    assert {blocked.owner.split()[-1] for blocked in watch.found} == {"call"}


def test_the_files_that_are_looked_at_by_name_exist() -> None:
    missing = [name for name in (*SERVING_COMMANDS, *STAND_INS) if not Path(name).is_file()]
    assert missing == [], "a file that was moved is not looked at any more"
