"""What an operator demands of an image before it is published: the words of the setting `release_policy`; pure."""

from enum import StrEnum

from vmkiln.errors import InputError


class Demand(StrEnum):
    """One demand: the hygiene gate says `Clean`; the result was booted; no VM went on from a saved one; what is in the
    image is known, and signed.
    """

    HYGIENE = "hygiene"
    BOOT = "boot"
    COLD = "cold"
    PROVENANCE = "provenance"


def demands_of(text: str) -> frozenset[Demand]:
    """The demands in a list with commas; pure. Raises: `InputError` for a word that is none."""
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in set(Demand)]
    if unknown:
        raise InputError(
            f"VMKILN_RELEASE_POLICY demands `{unknown[0][:40]}`, which nothing here can show",
            hint=f"there are {', '.join(Demand)}",
        )
    return frozenset(map(Demand, words))


def check_release(policy: str, *, allowed_residues: str) -> None:
    """Refuse a policy that another setting contradicts; pure. Raises: `InputError`."""
    if Demand.HYGIENE in demands_of(policy) and allowed_residues.strip():
        raise InputError(
            "VMKILN_RELEASE_POLICY demands `hygiene`, and VMKILN_ALLOWED_RESIDUES lets something stay in images",
            hint="leave one of them out",
        )
    if Demand.PROVENANCE in demands_of(policy) and "all" in allowed_residues.lower().replace(",", " ").split():
        raise InputError(
            "VMKILN_RELEASE_POLICY demands `provenance`, and by VMKILN_ALLOWED_RESIDUES (`all`) nobody looks",
            hint="leave one of them out, or name what may stay",
        )
