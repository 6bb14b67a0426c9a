"""Whether a file is what a statement says: signed by a key that is trusted, and about just these bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmkiln.provenance.envelope import ProvenanceRefused, opened
from vmkiln.provenance.statement import subjects_of


@dataclass(frozen=True)
class Verdict:
    """What was verified: the statement, the id of the key that signed it, and the names of the files it is about."""

    statement: dict[str, Any]
    key_id: str
    subjects: tuple[str, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """What of the statement most people want to know, as plain data."""
        predicate = self.statement["predicate"]
        definition, details = predicate["buildDefinition"], predicate["runDetails"]
        materials = {item.get("name"): item for item in definition["resolvedDependencies"]}
        return {
            "verified": True,
            "key": self.key_id,
            "subjects": list(self.subjects),
            "builder": details["builder"]["id"],
            "versions": details["builder"].get("version", {}),
            "run": details["metadata"]["invocationId"],
            "finished": details["metadata"]["finishedOn"],
            "source": materials.get("source", {}),
        }


def verify(digests: Mapping[str, str], envelope: str, keys: Mapping[str, str], *, image_id: str = "") -> Verdict:
    """Check files, as SHA-256 by name, against a signed statement; each must be a subject of it.

    With an image's id, only what the statement says of that image counts: another's, an older version's, may have come
    into its place with its own statement. Raises: `ProvenanceRefused`.
    """
    told, key_id = opened(envelope, keys)
    own = f"{image_id}/".lower()
    found = [one for one in subjects_of(told) if not image_id or one.name.lower().startswith(own)]
    if not found:
        raise ProvenanceRefused(f"the statement is about another image than {image_id}")
    subjects = {subject.sha256: subject.name for subject in found}
    if not digests:
        raise ProvenanceRefused("there is no file to verify")
    for name, digest in digests.items():
        if digest not in subjects:
            raise ProvenanceRefused(f"the statement is not about {name}: its SHA-256 is {digest}")
    return Verdict(told, key_id, tuple(subjects[digest] for digest in digests.values()))
