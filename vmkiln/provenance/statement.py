"""The statement about an image: what it is, what it was made of, how, and what the build did, as in-toto and SLSA say.

A statement (in-toto Statement v1) has subjects, the files by their digests, and a predicate (SLSA provenance v1). The
predicate's external parameters are all that whoever asked for the build could choose; secrets are masked in them.
Source: github.com/in-toto/attestation, spec/v1; slsa.dev/spec/v1.1/provenance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vmkiln.azure_names import utc_text
from vmkiln.provenance.envelope import ProvenanceRefused

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:vmkiln:build:image-template:1"
BUILDER = "urn:vmkiln:builder:"  # and the isolation level: `hardware` or `emulated`


@dataclass(frozen=True)
class Subject:
    """A file that a statement is about: a name for people, and its SHA-256 in hexadecimal."""

    name: str
    sha256: str

    @property
    def as_data(self) -> dict[str, Any]:
        """As in-toto has it."""
        return {"name": self.name, "digest": {"sha256": self.sha256}}


@dataclass(frozen=True)
class Material:
    """Something that went into a build, or came out beside the image: its name, address, SHA-256, and what is known."""

    name: str
    sha256: str
    uri: str = ""
    known: Mapping[str, Any] = field(default_factory=dict)

    @property
    def as_data(self) -> dict[str, Any]:
        """A resource descriptor of in-toto."""
        told: dict[str, Any] = {"name": self.name, "digest": {"sha256": self.sha256}}
        if self.uri:
            told["uri"] = self.uri
        if self.known:
            told["annotations"] = dict(self.known)
        return told


@dataclass(frozen=True)
class BuildRecord:
    """What a build was: all that a statement tells but its subjects. Times are UTC; secrets are masked by now.

    `chosen` is what was asked for, `decided` what the host chose, `versions` names programs of the builder.
    """

    run_id: str
    isolation_level: str
    chosen: Mapping[str, Any]
    decided: Mapping[str, Any]
    materials: Sequence[Material]
    byproducts: Sequence[Material]
    versions: Mapping[str, str]
    began: datetime


def statement(subjects: Sequence[Subject], record: BuildRecord, *, finished: datetime) -> dict[str, Any]:
    """The statement about the files that a build published; pure."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [subject.as_data for subject in subjects],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": dict(record.chosen),
                "internalParameters": dict(record.decided),
                "resolvedDependencies": [material.as_data for material in record.materials],
            },
            "runDetails": {
                "builder": {"id": f"{BUILDER}{record.isolation_level}", "version": dict(record.versions)},
                "metadata": {
                    "invocationId": record.run_id,
                    "startedOn": _time(record.began),
                    "finishedOn": _time(finished),
                },
                "byproducts": [material.as_data for material in record.byproducts],
            },
        },
    }


def subjects_of(told: Mapping[str, Any]) -> list[Subject]:
    """The files that a statement is about. Raises: `ProvenanceRefused` when it is no provenance of an image."""
    try:
        if told["_type"] != STATEMENT_TYPE or told["predicateType"] != PREDICATE_TYPE:
            raise ProvenanceRefused("the statement is no provenance: its type is another")
        if told["predicate"]["buildDefinition"]["buildType"] != BUILD_TYPE:
            raise ProvenanceRefused("the statement is about another kind of build")
        return [Subject(str(item["name"]), str(item["digest"]["sha256"])) for item in told["subject"]]
    except (KeyError, TypeError) as error:
        raise ProvenanceRefused("the statement is no provenance: a member is missing") from error


def with_subject(told: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """The same statement about one more file, which was made of the others and comes first; pure."""
    return {**told, "subject": [subject.as_data, *told["subject"]]}


def _time(moment: datetime) -> str:
    return utc_text(moment, timespec="seconds")
