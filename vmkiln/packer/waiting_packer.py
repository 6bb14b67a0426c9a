"""How Packer is started in a container group that is to be saved, where it waits for the template of a run; pure.

It is started as every build's is. What a build starts with other words, or in another environment, is not the one that
waits: that ends, and Packer starts anew. The rehearsal has the plugins of most builds started, so that they wait as
well: it asks for them as Packer does, with the words that this version has for it. The trial is a build of nothing.
"""

import json
from collections.abc import Mapping

from vmkiln.packer.packer_template import (
    INPUT,
    TEMPLATE,
    InputFile,
    PackerInput,
    arguments_file,
    environment_file,
)

SHELLS = 2  # one for the customizers, one for the deprovisioning
REHEARSAL = "rehearsal.json"
NOTHING = {"type": "null", "communicator": "none"}


def files() -> Mapping[str, str]:
    """The files that say so, by their names."""
    environment = environment_file({}).text or ""
    words = ["/packer", "validate", "-machine-readable", f"{INPUT}/{REHEARSAL}"]
    shell = {"type": "shell", "inline": ["true"]}
    template = {"builders": [NOTHING], "provisioners": [shell] * SHELLS}
    return {
        "arguments": arguments_file().text or "",
        "environment": environment,
        "rehearsal/arguments": "".join(f"{word}\n" for word in words),
        "rehearsal/environment": environment,
        "rehearsal/template.json": json.dumps(template),
    }


def trial() -> PackerInput:
    """What the one that waits is tried with: a build that does nothing, by whoever goes on from it."""
    template = InputFile(TEMPLATE, json.dumps({"builders": [NOTHING]}))
    return PackerInput((template, arguments_file(), environment_file({})), 1)
