"""What versions of Packer do differently in what builds use of it, and how each is met; pure data.

Builds use one program and nothing beside it: the null builder, the provisioners and the two communicators are
inside it in every version. Only 1.6.6, the one of Debian 12 and Ubuntu 22.04, has been run here; of the others the
sources were read, at the tags v1.9.5 to v1.16.0 of hashicorp/packer and v0.4.0 to v0.6.10 of its plugin SDK.
"""

from dataclasses import dataclass

Version = tuple[int, int, int]
RUN_HERE: tuple[Version, ...] = ((1, 6, 6),)
NEWEST_READ: Version = (1, 16, 0)


@dataclass(frozen=True)
class Difference:
    """From version `since` on: what is different, and how it is met."""

    since: Version
    what: str
    met_by: str


DIFFERENCES = (
    Difference(
        (1, 9, 2),
        "1.9.2 and 1.9.3 crash when `CHECKPOINT_DISABLE` is set",
        "the two are refused (`host/doctor/packer_version.py`)",
    ),
    Difference(
        (1, 10, 0),
        "the Business Source License; plugins of clouds and hypervisors are no longer in the program",
        "doctor and `script/bootstrap` tell the licence; builds use no plugin",
    ),
    Difference(
        (1, 11, 0),
        "the program starts itself as `packer execute` for a provisioner, before as `packer plugin`",
        "nothing: as many processes, from the same file",
    ),
    Difference(
        (1, 11, 0),
        "plugins are found only in folders that `packer plugins install` made",
        "nothing: no plugin is used, and `PACKER_CONFIG_DIR` is an empty folder",
    ),
    Difference(
        (1, 13, 0),
        "an inline script that begins with `#!` keeps its own first line",
        "nothing: each script is a file, whose first line we write",
    ),
    Difference(
        (1, 14, 2),
        "what a guest prints is told by the same kind of record as what Packer itself says",
        "`step_runner.py` marks all that a step prints, so that it is not taken for Packer's (`packer_output.py`)",
    ),
    Difference(
        (1, 14, 2),
        "a script whose connection broke is run again, for up to 5 minutes",
        "each run of a Windows script leaves a mark, and ends with 16001 where that is (`windows_template.py`)",
    ),
    Difference(
        (1, 15, 2),
        "a registry of HashiCorp's may add provisioners to a build",
        "nothing: none is named, and the container group reaches only the build VM",
    ),
)
