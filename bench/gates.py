"""What each gate of a build costs, on an image that a real build of the demo's source made here; raw seconds.

    python bench/gates.py [--rounds N] [--json]

hygiene     scrubbing the finished disk and looking at it from outside, by the inspection VM (a part of the timeline)
search      looking for keys in the bytes of the flattened file, two needles that are not there (here, with warm caches)
boot        booting the result once, until a script ran in it (a fact of the run; its VM has a seed and a network)
packages    making the bill of materials of what the look found (here again)
provenance  making and signing the statement of the image (here again), and verifying the image by it, hash and all

Each round is a build of one short step with all gates on. What the step writes differs each time, so that no verdict is
known. The keys are looked for beside the flattening's hash, and the boot goes on beside both, so a build takes less
than the sum. The load of the machine is told with the numbers.
"""

import argparse
import base64
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from against_packer import IMAGE_ID, VMKILN, source_image, vmkiln_build

from vmkiln.image_contents.bill_of_materials import bill_of_materials
from vmkiln.image_contents.contents import read_contents
from vmkiln.inspecting.byte_search import found_in
from vmkiln.preparation import opened_store
from vmkiln.provenance import image_key
from vmkiln.provenance.documents import CONTENTS, PROVENANCE
from vmkiln.provenance.envelope import signed
from vmkiln.settings_sources import read_settings
from vmkiln.store.database import Store

GATES_ON = {"VMKILN_ALLOWED_RESIDUES": "", "VMKILN_BOOT_GATE": "true"}


def told(*arguments: str) -> dict[str, Any]:
    """What a command says as JSON."""
    command = [VMKILN, *arguments, "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    begin = time.monotonic()
    work()
    return round(time.monotonic() - begin, 3)


def one_round(store: Store, image: dict[str, str], number: int) -> dict[str, float]:
    """The seconds of each gate of one build."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="vmkiln-gates-") as folder:
        commands = [f"echo {os.urandom(8).hex()} | sudo tee /etc/bench > /dev/null"]
        whole, summary = vmkiln_build(Path(folder), image, number, commands)
    found: Any = summary
    parts = told("run", "timeline", found["run_id"])["parts"]
    (hygiene,) = [part["seconds"] for part in parts if (part["kind"], part["name"]) == ("gate", "hygiene")]
    artifact_id = f"{IMAGE_ID}/bench-{os.getpid()}-{number}"
    kept = store.images.find(artifact_id)
    assert kept is not None, "it was published"
    documents = store.images.documents_of(artifact_id)
    contents = read_contents(documents[CONTENTS])
    statement = json.loads(base64.b64decode(json.loads(documents[PROVENANCE])["payload"]))
    key = image_key.current(store.seal.ring)
    needles = {"a key": [b"a line of a key that is not there", b"another line that is not there"]}
    return {
        "hygiene": float(hygiene),
        "search": seconds_of(lambda: found_in([kept.path], needles)),
        "boot": float(found["facts"]["boot"]["seconds_to_ssh"]),
        "packages": seconds_of(
            lambda: bill_of_materials(contents, name=artifact_id, digest=kept.digest, created=kept.created)
        ),
        "sign": seconds_of(lambda: signed(statement, key)),
        "verify": seconds_of(lambda: told("image", "verify", artifact_id)),
        "build": round(whole, 1),
        "file_mib": round(kept.path.stat().st_size / 2**20, 1),
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Build with all gates, and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how many builds (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    os.environ |= GATES_ON
    image = source_image()
    with opened_store(read_settings(), print) as store:
        rounds = [one_round(store, image, number) for number in range(arguments.rounds)]
    numbers = {name: [found[name] for found in rounds] for name in rounds[0]}
    if arguments.json:
        print(json.dumps({"accelerator": image["accelerator"], **numbers}))
        return
    print(f"accelerator  {image['accelerator']}")
    for name, values in numbers.items():
        unit = {"file_mib": "MiB"}.get(name, "" if name.startswith("load") else "s")
        print(f"{name:<12} {' '.join(f'{value:8.2f}' for value in values)} {unit}".rstrip())


if __name__ == "__main__":
    main()
