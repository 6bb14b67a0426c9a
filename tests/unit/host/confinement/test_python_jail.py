"""What a Python program of ours gets in its jail."""

from pathlib import Path

from vmkiln.host.confinement import python_jail
from vmkiln.host.confinement.jail import Jail
from vmkiln.host.confinement.python_jail import MODULES_INSIDE, PythonFiles, arguments_of, jail_of, python_files

FILES = PythonFiles("/usr/bin/python3", ("/usr/bin/python3", "/usr/lib/python3"), {"/program/x.py": "/home/me/x.py"})


async def test_it_sees_the_interpreter_and_the_modules_of_one_folder() -> None:
    files = await python_files(Path(python_jail.__file__).parent)
    assert {f"{MODULES_INSIDE}/vmkiln/__init__.py", f"{MODULES_INSIDE}/vmkiln/host/__init__.py"} < set(files.copies)
    assert f"{MODULES_INSIDE}/vmkiln/host/confinement/jail.py" in files.copies
    assert not any("errors" in path for path in files.copies)
    assert files.files[0] == files.program
    assert "site-packages" not in " ".join(files.files)


def test_its_program_has_no_environment_and_no_site_packages() -> None:
    orders = "x" * 100_000
    texts = arguments_of(FILES, "vmkiln.host.x", orders)
    assert texts[:4] == ["/usr/bin/python3", "-I", "-S", "-B"]
    assert "".join(texts[6:]) == orders
    assert max(len(text.encode()) for text in texts) < 131072  # what one argument may have


def test_its_jail_stays_in_the_network_of_the_run() -> None:
    jail = jail_of(FILES, own_id=7)
    assert jail.shares_network
    assert Jail.read(jail.described()) == jail
    assert jail.limits["RLIMIT_FSIZE"] == 0
