"""Who is waited for at this service: a visitor, and the host that lets them into a failed VM. Each comes by itself.

Nothing is connected to; both dial in, each with a token of its own that lets it in once. Only the digests of the tokens
are kept, in this process: whoever waits when it ends is told so by the end of the connection, and asks again.
"""

import asyncio
import hashlib
import hmac
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from starlette.types import Send

from vmkiln.errors import ArmError
from vmkiln.shells.order import Meeting

MOST_SHELLS = 16  # that are waited for or in use, in a service
MOST_OF_A_CALLER = 4
WAITING_SECONDS = 60.0  # from being asked for until both are there
SPARE_SECONDS = 60.0  # behind the time of the VM, at which its host ends the visit
TOKEN_BYTES = 32
RETRY_SECONDS = 15
Clock = Callable[[], float]


class Side(StrEnum):
    """Who comes."""

    VISITOR = "visitor"
    HOST = "host"

    @property
    def other(self) -> "Side":
        """Who the other one is."""
        return Side.HOST if self is Side.VISITOR else Side.VISITOR


@dataclass(eq=False)
class Shell:
    """One shell that was asked for; times are those of the steady clock. `caller` is counted, `name` is for the log.

    `may_still` asks whether its visitor may enter now, and blocks. `over` is set when it is over for both.
    """

    shell_id: str
    run_id: str
    caller: str
    name: str
    come_until: float
    open_until: float
    may_still: Callable[[], bool]
    digests: dict[Side, bytes]
    both: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    came: set[Side] = field(default_factory=set)
    started: dict[Side, asyncio.Event] = field(default_factory=lambda: {side: asyncio.Event() for side in Side})
    sends: dict[Side, Send] = field(default_factory=dict)
    pumps: dict[Side, "asyncio.Task[None]"] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A shell that was asked for, with both tokens, which nobody keeps here."""

    shell: Shell
    visitors_token: str = field(repr=False)
    hosts_token: str = field(repr=False)


class Meetings:
    """All shells of a service. `near` is where the host on its own machine finds it, `far` where others do; or nowhere.

    `ask` is called in threads, `came` and `leave` in the event loop.
    """

    def __init__(
        self, near: Meeting | None = None, far: Meeting | None = None, *, clock: Clock = time.monotonic
    ) -> None:
        self.near = near
        self.far = far
        self._clock = clock
        self._lock = threading.Lock()
        self._shells: dict[str, Shell] = {}

    def __len__(self) -> int:
        return len(self._shells)

    def ask(self, run_id: str, *, caller: str, seconds: float, may_still: Callable[[], bool], name: str = "") -> Asked:
        """Wait for a visitor and a host; the VM is there for so many seconds. Raises: `ArmError` 429."""
        tokens = {side: secrets.token_urlsafe(TOKEN_BYTES) for side in Side}
        now = self._clock()
        shell = Shell(
            str(uuid.uuid4()),
            run_id,
            caller,
            name or caller,
            come_until=now + WAITING_SECONDS,
            open_until=now + seconds + SPARE_SECONDS,
            may_still=may_still,
            digests={side: _digest(token) for side, token in tokens.items()},
        )
        with self._lock:
            for old in [one for one in self._shells.values() if not one.came and one.come_until < now]:
                del self._shells[old.shell_id]
            if sum(one.caller == caller for one in self._shells.values()) >= MOST_OF_A_CALLER:
                raise _too_many(f"{MOST_OF_A_CALLER} of yours")
            if len(self._shells) >= MOST_SHELLS:
                raise _too_many(f"{MOST_SHELLS} of this service")
            self._shells[shell.shell_id] = shell
        return Asked(shell, tokens[Side.VISITOR], tokens[Side.HOST])

    def came(self, shell_id: str, token: str) -> tuple[Shell, Side]:
        """Let somebody in, once. Raises: `ArmError` 404 for what is not waited for, whatever the reason."""
        shell, given = self._shells.get(shell_id), _digest(token)
        if shell is None or self._clock() > shell.come_until:
            raise not_waited_for()
        found = [side for side, digest in shell.digests.items() if hmac.compare_digest(digest, given)]
        if not found or found[0] in shell.came:
            raise not_waited_for()
        shell.came.add(found[0])
        return shell, found[0]

    def leave(self, shell: Shell) -> None:
        """It is over."""
        shell.over.set()
        self.withdraw(shell)

    def withdraw(self, shell: Shell) -> None:
        """It was asked for, and nobody was told of it."""
        with self._lock:
            self._shells.pop(shell.shell_id, None)

    def seconds_to_come(self, shell: Shell) -> float:
        """How long it is waited for still."""
        return max(0.0, shell.come_until - self._clock())

    def is_open(self, shell: Shell) -> bool:
        """Whether its VM may be there still."""
        return self._clock() < shell.open_until


def not_waited_for() -> ArmError:
    """The refusal of whoever comes too late, twice, or with another's token; pure."""
    return ArmError(404, "ShellNotFound", "No shell is waited for there: its token is over, was used, or is another's.")


def nobody_came(side: Side) -> ArmError:
    """What is told when this one does not come; pure."""
    if side is Side.VISITOR:
        return ArmError(410, "VisitorGone", "Whoever asked for this shell is not there any more.")
    message = (
        f"The host that holds the failed VM did not come within {WAITING_SECONDS:.0f} s. It may have no room, or not "
        "reach this service: the log of its `vmkiln worker` says so."
    )
    return ArmError(504, "HostDidNotCome", message)


def service_ends() -> ArmError:
    """What is told while the service ends; pure."""
    return ArmError(503, "ServiceEnds", "The service ends. Ask for the shell again when it is back.")


def _too_many(whose: str) -> ArmError:
    message = f"{whose} are waited for or in use, and no more shells may be. Try again when one has ended."
    return ArmError(429, "TooManyShells", message, headers={"Retry-After": str(RETRY_SECONDS)})


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
