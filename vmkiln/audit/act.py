"""What somebody did, as a row of the audit: names in Azure's words, texts bounded and harmless; pure.

Source: Azure Monitor, "Activity log event schema" (category Administrative); the operations are named as the resource
providers name them.
"""

import os
import pwd
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from vmkiln.harmless_text import RETURN, harmless
from vmkiln.store.audit_table import BegunAct
from vmkiln.store.rows import AuditRow

MOST_NAME_LETTERS = 260
MOST_ID_LETTERS = 1100
MOST_OPERATION_LETTERS = 300
MOST_DETAIL_LETTERS = 1000
MOST_DETAILS = 20
REFUSALS = frozenset({401, 403})


class CallerKind(StrEnum):
    """Who acted: somebody with a login, an application, this machine's operator, vmkiln itself, somebody unknown."""

    USER = "user"
    APP = "app"
    OPERATOR = "operator"
    SERVICE = "service"
    NOBODY = "nobody"


class Status(StrEnum):
    """What came of an act; what is accepted goes on after its answer. One that only started was cut short."""

    STARTED = "Started"
    SUCCEEDED = "Succeeded"
    ACCEPTED = "Accepted"
    FAILED = "Failed"


@dataclass(frozen=True)
class Who:
    """Who acts: a name for people, the id that roles are assigned to, and where the request came from."""

    name: str
    id: str
    kind: CallerKind
    source: str = ""


@dataclass(frozen=True)
class Cause:
    """What an act belongs to: all acts of one request from outside have its correlation id."""

    correlation_id: str
    request_id: str = ""
    method: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of an act: the HTTP status (0: there was no request), and the error's code."""

    code: int = 0
    error_code: str = ""

    @property
    def status(self) -> Status:
        """The same in Azure's words."""
        if self.error_code or self.code >= 400:
            return Status.FAILED
        return Status.ACCEPTED if self.code == 202 else Status.SUCCEEDED


SERVICE = Who("vmkiln", "vmkiln", CallerKind.SERVICE)
DONE = Outcome()


def operator() -> Who:
    """The user who runs this process: the operator of this machine."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = f"uid {number}"
    return Who(name, f"uid {number}", CallerKind.OPERATOR)


def name_of(who: Who) -> str:
    """The name of who acted, cut to what fits, and shown instead of obeyed; pure."""
    return plain(who.name, MOST_NAME_LETTERS)


def new_cause() -> Cause:
    """The cause of an act that no request asked for."""
    return Cause(str(uuid.uuid4()))


def audit_row(
    operation: str,
    resource_id: str,
    *,
    who: Who,
    cause: Cause,
    moment: datetime,
    outcome: Outcome = DONE,
    detail: Mapping[str, object] | None = None,
) -> AuditRow:
    """One act. What others wrote is cut to what fits, and shown instead of obeyed."""
    segments = resource_id.strip("/").split("/")
    details = list((detail or {}).items())[:MOST_DETAILS]
    is_nobodys_failure = who.kind is CallerKind.NOBODY and outcome.status is Status.FAILED
    return AuditRow(
        event_id=str(uuid.uuid4()),
        moment=moment,
        caller=name_of(who),
        caller_id=plain(who.id, MOST_NAME_LETTERS),
        caller_kind=who.kind,
        operation=plain(operation, MOST_OPERATION_LETTERS),
        resource_id=plain(resource_id, MOST_ID_LETTERS),
        subscription_id=plain(_after("subscriptions", segments[:2]), MOST_NAME_LETTERS).lower(),
        resource_group=plain(_after("resourcegroups", segments[2:4]), MOST_NAME_LETTERS).lower(),
        provider=plain(operation.partition("/")[0], MOST_NAME_LETTERS).lower(),
        status=outcome.status,
        code=outcome.code,
        error_code=plain(outcome.error_code, 120),
        method=plain(cause.method, 20),
        correlation_id=plain(cause.correlation_id, 36).lower(),
        request_id=plain(cause.request_id, 36).lower(),
        source=plain(who.source, 60),
        is_refused=outcome.code in REFUSALS or is_nobodys_failure,
        detail={plain(name, 60): plain(str(value), MOST_DETAIL_LETTERS) for name, value in details},
    )


def begun(row: AuditRow) -> BegunAct:
    """An act before anything of it is done; its row is completed when it is over (`ended`)."""
    return BegunAct(replace(row, status=Status.STARTED))


def ended(act: BegunAct, row: AuditRow) -> AuditRow:
    """What is recorded of an act that is over, in place of what was when it began."""
    return replace(row, event_id=act.row.event_id, number=act.number)


def plain(text: str, most_letters: int) -> str:
    """A text from outside in one harmless line, cut to so many letters.

    A carriage return is shown too: on a terminal it would hide what stands before it.
    """
    return harmless(text[:most_letters].replace("\r", RETURN))[:most_letters]


def _after(word: str, pair: list[str]) -> str:
    return pair[1] if len(pair) == 2 and pair[0].lower() == word else ""
