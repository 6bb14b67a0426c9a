"""What a run writes on this host, stored where other hosts read it: its logs, and the firewall rules in force.

*Leaves behind:* objects. *Undone by:* deleting the staging resource group. *Safe to repeat:* yes.
"""

import contextlib
import logging
import threading
from dataclasses import dataclass, field

from vmkiln.azure_names import LOG_FILES
from vmkiln.host.network import network_rules
from vmkiln.host.usage import machine_usage
from vmkiln.settings import Settings
from vmkiln.sharing.log_pieces import SentLog
from vmkiln.sharing.object_store import ObjectStore
from vmkiln.staging.storage_account import LOGS, account_name
from vmkiln.store.database import Store

FILES = (network_rules.FILE_NAME, machine_usage.FILE_NAME)  # beside its logs
log = logging.getLogger(__name__)


@dataclass
class SentRun:
    """One attempt of a run; remembers what was sent. Threads that send wait for each other."""

    settings: Settings
    store: Store
    objects: ObjectStore
    run_id: str
    attempt: int
    group: str = ""
    _logs: dict[str, SentLog] = field(default_factory=dict)
    _files: dict[str, bytes] = field(default_factory=dict)
    _warned: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self) -> None:
        """Send what is new; content while the run has no group yet. Raises: `SharedStorageFailed`."""
        name_of_group = self.known_group()
        if not name_of_group:
            return
        group = self.settings.staging / name_of_group
        with self._lock:
            for name in LOG_FILES.values():
                file = group / account_name(name_of_group) / LOGS / self.run_id / name
                key = file.relative_to(self.settings.home).as_posix()
                self._logs.setdefault(name, SentLog(self.objects, key, self.attempt)).send(file)
            for name in FILES:
                with contextlib.suppress(FileNotFoundError):
                    content = (group / name).read_bytes()
                    if content != self._files.get(name):
                        self.objects.put((group / name).relative_to(self.settings.home).as_posix(), content)
                        self._files[name] = content

    def known_group(self) -> str:
        """The run's staging resource group, read from its record until it has one; '' before."""
        if not self.group:
            run = self.store.runs.by_id([self.run_id], has_template=False).get(self.run_id)
            self.group = run.staging_group if run is not None else ""
        return self.group

    def warn(self, error: BaseException) -> None:
        """Say once why nothing is sent."""
        if str(error) != self._warned:
            log.warning("what run %s writes is not shared now, which is tried again: %s", self.run_id, error)
        self._warned = str(error)
