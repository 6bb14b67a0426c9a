"""The jail of a small Python program of ours that serves a run's guests in the run's own network, described.

It runs with the standard library alone, on the interpreter that runs vmkiln. Our modules are copied into the jail, for
whoever it runs as may not read the files of this user. `-I -S`: no environment, no user's packages, no site packages.
"""

import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmkiln.host.confinement.confinement import Confinement
from vmkiln.host.confinement.jail import Jail
from vmkiln.host.shared_libraries import libraries_of
from vmkiln.waiting.off_loop import off_loop

MIB = 1024**2
PACKAGE = Path(__file__).parents[2]
MODULES_INSIDE = "/program"
ADDRESS_SPACE = 512 * MIB
MOST_OPEN_FILES = 1024
PIECE_LETTERS = 30_000
MOST_THREADS = 4  # of the id, which no other process has
ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin"}


@dataclass(frozen=True)
class PythonFiles:
    """The interpreter by its whole path, every file and folder that it reads, and our modules by their path inside."""

    program: str
    files: tuple[str, ...]
    copies: Mapping[str, str]


async def python_files(folder: Path) -> PythonFiles:
    """What a program needs whose modules all lie in one folder of the package. Raises: `CommandFailed`."""
    program = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]  # of a virtual environment, too
    libraries = await libraries_of(program)
    files = (str(program), *(str(library) for library in libraries), sysconfig.get_path("stdlib"))
    return PythonFiles(str(program), files, await off_loop(_copies, folder))


def _copies(folder: Path) -> dict[str, str]:
    """Our modules: the folder's, and those that make it a package."""
    parents = [parent for parent in (folder, *folder.parents) if parent.is_relative_to(PACKAGE)]
    found = [*folder.glob("*.py"), *(parent / "__init__.py" for parent in parents)]
    return {f"{MODULES_INSIDE}/{path.relative_to(PACKAGE.parent)}": str(path) for path in sorted(set(found))}


def arguments_of(files: PythonFiles, module: str, text: str) -> list[str]:
    """The argument list that calls `main()` of a module; `sys.argv[1:]`, joined, is the text; pure.

    It comes in pieces, for one argument may be no longer than the kernel says (execve(2)).
    """
    code = f"import sys; sys.path.append('{MODULES_INSIDE}'); from {module} import main; main()"
    pieces = [text[at : at + PIECE_LETTERS] for at in range(0, len(text), PIECE_LETTERS)]
    return [files.program, "-I", "-S", "-B", "-c", code, *pieces]


def jail_of(files: PythonFiles, *, own_id: int) -> Jail:
    """The jail of a program that runs as an id of its own; pure."""
    return Jail(
        id=own_id,
        files=files.files,
        copies=files.copies,
        limits={
            "RLIMIT_AS": ADDRESS_SPACE,
            "RLIMIT_NPROC": MOST_THREADS,
            "RLIMIT_NOFILE": MOST_OPEN_FILES,
            "RLIMIT_CORE": 0,
            "RLIMIT_MEMLOCK": 0,
            "RLIMIT_FSIZE": 0,
        },
        shares_network=True,
    )


def confinement_of(files: PythonFiles, *, own_id: int) -> Confinement:
    """All that is to hold the program; pure."""
    return Confinement(jail_of(files, own_id=own_id), (), ENVIRONMENT)
