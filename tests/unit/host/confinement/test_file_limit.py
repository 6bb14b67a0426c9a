"""A service may open what the machine allows; what it starts gets the limit that it was started with."""

import json
import resource
import subprocess
import sys

TRIED = """
import asyncio, json, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from vmkiln.host.command import run
from vmkiln.host.confinement.file_limit import raise_file_limit
raised = raise_file_limit()
ask = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
child = asyncio.run(run([sys.executable, "-c", ask], timeout_seconds=60))
print(json.dumps([raised, resource.getrlimit(resource.RLIMIT_NOFILE)[0], int(child.text)]))
"""


def test_a_service_takes_all_files_and_its_programs_do_not() -> None:
    said = subprocess.run([sys.executable, "-c", TRIED], capture_output=True, check=True).stdout
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert json.loads(said) == [hard, hard, 200]
