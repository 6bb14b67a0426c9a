"""What Packer's debug log says about a login by WinRM that came to nothing, as a sentence with its cure; pure.

Packer tries again until its time is over and then says only "Timeout waiting for WinRM.".
Source: read from 1.6.6.
"""

import re

TIME_OUT = "Timeout waiting for WinRM"  # how its error begins; why is told behind it, or not at all
_MEANINGS = (  # what a line has, as patterns: a port may have 401 in it, too
    (
        (r"\b401\b",),
        "the VM refuses the build's login (401): a policy of the image forbids Basic authentication, as in "
        "hardened ones, or set-up did not make the user",
    ),
    (("x509", "certificate"), "the VM shows another certificate than the run's own: set-up did not bring that in"),
    (
        ("EOF", "connection reset", "refused", "[Tt]imeout", "i/o", "deadline"),
        "nothing answered on the VM's WinRM port: Windows did not come to the end of its set-up",
    ),
)


def meaning(error: str) -> str:
    """The sentence, with Packer's own words behind it."""
    found = next((text for words, text in _MEANINGS if any(re.search(word, error) for word in words)), "")
    return (
        f"Packer could not log in by WinRM: {found}: {error}" if found else f"Packer could not log in by WinRM: {error}"
    )
