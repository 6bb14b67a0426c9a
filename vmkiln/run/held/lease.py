"""A failed VM that lies on disk until its time is over: the folder it is in, and who deletes it.

A folder for each run: RAM, devices, disks, seed and firmware's variables as they were, sealed with a key each, and
other names of the files that its disks lie on. The record is written last; it has the keys, sealed with the
installation's, and goes first, so what is left of a lease that was being deleted cannot be read. A VM that was entered
is saved anew: files of the next generation, then the record in one step, then the older files go.

Who makes, wakes or deletes a lease has the lock of its run, so nobody else does.

*Leaves behind:* the folder. *Undone by:* `forget`, `remove_over`. *Safe to repeat:* yes.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vmkiln.azure_names import VIRTUAL_MACHINE
from vmkiln.errors import InputError, KeyUnavailable, StorageFailed
from vmkiln.files.durable_file import sync, write_whole
from vmkiln.files.sparse_file import taken_bytes
from vmkiln.host.host_id import host_id
from vmkiln.host.qemu import Disk, Firmware, Machine
from vmkiln.run.held import releasing
from vmkiln.sealing.key_ring import Purpose, new_secret
from vmkiln.sealing.seal import key_id_of
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.staging.staging_resource_group import HELD
from vmkiln.staging.virtual_network import VirtualNetwork
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceState, StagingResourceRow
from vmkiln.store.run_facts import LeaseFact

RECORD = "record.json"
MEMORY, DEVICES, VARIABLES = "memory", "devices", "variables"
LONGEST_RECORD_BYTES = 1024 * 1024
MIB = 1024**2


@dataclass(frozen=True)
class Contents:
    """What only the installation's key opens: the VM, its network, the key to log in with, and the files' keys.

    The machine's files are named as they are in the lease; `keys` are hexadecimal digits by those names.
    """

    machine: Machine
    network: VirtualNetwork
    private_key: str = field(repr=False)
    keys: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Lease:
    """A lease that is there: whose, until when (seconds since 1970), how often it was saved, what it takes of the disk.

    `sealed` is what `opened` opens.
    """

    folder: Path
    run_id: str
    until: float
    generation: int
    size_bytes: int
    sealed: str = field(repr=False)

    def file(self, name: str) -> Path:
        """Where a sealed file of it is."""
        return self.folder / f"{name}.{self.generation}"

    def is_over(self, now: float) -> bool:
        """Whether its time is over."""
        return self.until <= now


def folder_of(settings: Settings, run_id: str) -> Path:
    """Where the lease of a run is; pure."""
    return settings.leases / run_id


def found(settings: Settings, run_id: str, *, now: float | None = None) -> Lease | None:
    """The lease of a run; none when there is none, its time is over, or its record cannot be read."""
    lease = read(folder_of(settings, run_id))
    return None if lease is None or lease.is_over(time.time() if now is None else now) else lease


def all_of(settings: Settings) -> list[Lease]:
    """Every lease that is there."""
    return [lease for folder in _folders(settings) if (lease := read(folder)) is not None]


def written(folder: Path, contents: Contents, store: Store, *, until: float, generation: int) -> Lease:
    """Record what lies whole in a folder, on disk; what is of older generations goes.

    Raises: `KeyUnavailable` without a key to seal with, `StorageFailed`, `OSError`.
    """
    sealed = store.seal.sealed(_as_data(contents), place=_place(folder.name))
    for path in folder.iterdir():
        if path.name != RECORD and not path.name.startswith("."):
            sync(path)
    sync(folder)
    size = taken_bytes(*folder.glob(f"*.{generation}"))
    lease = Lease(folder, folder.name, until, generation, size, sealed)
    _record(lease)
    with contextlib.suppress(OSError):  # whoever cleans up does it, too
        _remove_older(lease)
    return lease


def _record(lease: Lease) -> None:
    names = ("until", "generation", "size_bytes", "sealed")
    write_whole(lease.folder / RECORD, json.dumps({name: getattr(lease, name) for name in names}).encode())


def reseal(settings: Settings, store: Store) -> tuple[int, list[str]]:
    """Seal the records with the newest key; gives how many that were, and the runs of those that somebody is in.

    What no key opens is left as it is. Raises: `KeyUnavailable` without a key, `StorageFailed`.
    """
    newest, count, left = store.seal.ring.current(Purpose.SECRETS, new_secret).key_id, 0, list[str]()
    for folder in _folders(settings):
        with run_directory.locked_if_free(settings.runs, folder.name) as is_ours:
            lease = read(folder)
            if lease is None or key_id_of(lease.sealed) == newest:
                continue
            if not is_ours:
                left.append(folder.name)
                continue
            with contextlib.suppress(KeyUnavailable):
                content = store.seal.opened(lease.sealed, place=_place(lease.run_id))
                _record(replace(lease, sealed=store.seal.sealed(content, place=_place(lease.run_id))))
                count += 1
    return count, left


def opened(lease: Lease, store: Store) -> Contents:
    """What is in the record. Raises: `KeyUnavailable`; `InputError` when another release of vmkiln wrote it."""
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 (it takes as long as all the rest)

    data = store.seal.opened(lease.sealed, place=_place(lease.run_id))
    try:
        return TypeAdapter(Contents).validate_python(data)
    except ValidationError as error:
        raise InputError(
            f"the failed VM of run {lease.run_id[:8]} was kept by another release of vmkiln, and cannot be woken",
            hint=f"`vmkiln run release {lease.run_id[:8]}` deletes it",
        ) from error


def _as_data(contents: Contents) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415

    return TypeAdapter(Contents).dump_python(contents, mode="json")


def forget(settings: Settings, store: Store, run_id: str) -> None:
    """Delete the lease of a run whose lock is held here; finds nothing and is content.

    Its folder goes last, empty: who finds one whose process died, or whose database was away, gives the receipt then.
    Raises: `OSError`, `StorageFailed`.
    """
    folder = folder_of(settings, run_id)
    (folder / RECORD).unlink(missing_ok=True)
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink()
        sync(folder)
    _note_gone(settings, store, run_id)
    if folder.is_dir():
        folder.rmdir()
        sync(folder.parent)


def _note_gone(settings: Settings, store: Store, run_id: str) -> None:
    """Record that this host has no lease of a run any more; another one may have another, of a later attempt."""
    if (run := releasing.run_of(store, run_id)) is None:
        return
    own, fact = host_id(settings), run.facts.get("lease")
    holder = own if fact is None else fact["host_id"]  # as older releases meant it, which did not say whose it is
    rows = [
        row
        for row in store.staging.resources_of(run.staging_group)
        if is_receipt_of(row, run_id) and not row.verified and row.detail.get("hostId", holder) == own
    ]
    store.staging.resources_deleted([row.number for row in rows if row.state != ResourceState.DELETED])
    store.staging.resources_gone([row.number for row in rows])  # the folder was all of it
    if fact is not None and holder == own:
        store.runs.change_lease(run_id, fact, None)


def note(store: Store, made: Lease, machine: Machine, *, group: str, host: str) -> None:
    """Record with its run, and in its staging resource group, that a lease is there; nothing depends on that."""
    until = datetime.fromtimestamp(made.until, UTC).isoformat(timespec="seconds")
    detail = {"path": str(made.folder), "state": HELD, "until": until, "architecture": str(machine.architecture)}
    detail["generation"] = "2" if isinstance(machine.boot, Firmware) else "1"
    entry = (VIRTUAL_MACHINE, f"{machine.name}-held", {**detail, "hostId": host})
    store.staging.add_resources(group, run_id=made.run_id, entries=[entry], exist=True)
    fact: LeaseFact = {"until": until, "size_mib": made.size_bytes // MIB, "host_id": host}
    store.runs.add_facts(made.run_id, lease=fact)


def is_receipt_of(row: StagingResourceRow, run_id: str) -> bool:
    """Whether a resource is the lease of a run; pure."""
    return row.run_id == run_id and row.type == VIRTUAL_MACHINE and row.detail.get("state") == HELD


def remove_over(settings: Settings, store: Store, *, now: float | None = None) -> dict[str, str]:
    """Delete the leases whose time is over or whose group is gone, and what makers left that died.

    Gives the runs that had one, each with why it has none any more. A group, with its template say, may have been
    deleted on another host, or while somebody was in.

    Raises: what went wrong first (`OSError`, `StorageFailed`), after all others were looked at; a record that could not
    be read, for want of memory say, is none that is not there.
    """
    gone, problems, now = dict[str, str](), list[OSError | StorageFailed](), time.time() if now is None else now
    for folder in _folders(settings):
        try:
            if reason := _removed_when_over(settings, store, folder, now):
                gone[folder.name] = reason
        except (OSError, StorageFailed) as error:
            problems.append(error)
    if problems:
        raise problems[0]
    return gone


def _removed_when_over(settings: Settings, store: Store, folder: Path, now: float) -> str:
    """Why it was a lease, and is deleted now; '' when it is left, or was none. Raises: `OSError`, `StorageFailed`."""
    with run_directory.locked_if_free(settings.runs, folder.name) as is_ours:
        if not is_ours:
            releasing.show_out(settings, store, folder.name)
            return ""
        lease = _readable(folder)
        reason = "" if lease is None else _why_over(settings, lease, store, now)
        if lease is not None and not reason:
            _remove_older(lease)
            return ""
        forget(settings, store, folder.name)
        return reason


def _why_over(settings: Settings, lease: Lease, store: Store, now: float) -> str:
    """Why nobody may have it any more; '' while somebody may. Raises: `StorageFailed`."""
    if lease.is_over(now):
        return "its time is over"
    run = releasing.run_of(store, lease.run_id)  # a restored back-up may know nothing of it
    if releasing.is_released(settings, run):
        return "it was released on another host"
    if run is not None and run.staging_group and store.staging.group(run.staging_group) is None:
        return "its staging resource group was deleted"
    return ""


def forget_of_group(settings: Settings, store: Store, group: str) -> list[str]:
    """Delete the leases of the runs of a staging resource group; gives the runs of those that somebody is in.

    Raises: `OSError`, `StorageFailed`.
    """
    left = []
    for folder in _folders(settings):
        with contextlib.suppress(InputError):  # the run is on no record any more
            if store.runs.find(folder.name).staging_group == group:
                with run_directory.locked_if_free(settings.runs, folder.name) as is_ours:
                    if is_ours:
                        forget(settings, store, folder.name)
                    else:
                        left.append(folder.name)
    return left


def forget_of(settings: Settings, store: Store, template_id: str) -> None:
    """Delete the leases of a template resource's runs, but for those that somebody is in.

    Raises: `OSError`, `StorageFailed`.
    """
    for folder in _folders(settings):
        with contextlib.suppress(InputError):  # the run is on no record any more
            if store.runs.find(folder.name).template_id.lower() == template_id.lower():
                with run_directory.locked_if_free(settings.runs, folder.name) as is_ours:
                    if is_ours:
                        forget(settings, store, folder.name)


def bytes_of_all(settings: Settings) -> int:
    """What all leases take of the disk, those that are being made included."""
    total = 0
    for folder in _folders(settings):
        with contextlib.suppress(FileNotFoundError):  # one that is just deleted
            total += taken_bytes(*folder.glob("*.*"))
    return total


def own_files(machine: Machine) -> dict[str, Path]:
    """The files that are the VM's own, by their names in a lease: the top of each disk, the firmware's variables."""
    found = {f"disk{number}": disk.path for number, disk in enumerate(machine.disks)}
    if isinstance(machine.boot, Firmware):
        found[VARIABLES] = machine.boot.variables
    return found


def files_below(machine: Machine) -> dict[str, Path]:
    """The files that its disks lie on, by their names in a lease, which nobody writes."""
    found = {}
    for number, disk in enumerate(machine.disks):
        below, depth = disk.backing, 0
        while below is not None:
            found[f"below{number}-{depth}"] = below.path
            below, depth = below.backing, depth + 1
    return found


def placed(machine: Machine, own: Mapping[str, Path], below: Mapping[str, Path]) -> Machine:
    """The same machine on files that lie elsewhere; pure."""
    disks = tuple(
        replace(disk, path=own[f"disk{number}"], backing=_below(disk.backing, number, 0, below))
        for number, disk in enumerate(machine.disks)
    )
    boot = replace(machine.boot, variables=own[VARIABLES]) if isinstance(machine.boot, Firmware) else machine.boot
    return replace(machine, disks=disks, boot=boot)


def _below(disk: Disk | None, number: int, depth: int, below: Mapping[str, Path]) -> Disk | None:
    if disk is None:
        return None
    return replace(disk, path=below[f"below{number}-{depth}"], backing=_below(disk.backing, number, depth + 1, below))


def read(folder: Path) -> Lease | None:
    """The lease in a folder, also one whose time is over; none when there is none, or its record cannot be read."""
    with contextlib.suppress(OSError):
        return _readable(folder)
    return None


def _readable(folder: Path) -> Lease | None:
    """None when there is no record, or it is none. Raises: `OSError` when the system does not say."""
    try:
        with (folder / RECORD).open("rb") as file:
            record = json.loads(file.read(LONGEST_RECORD_BYTES))
        return Lease(
            folder,
            folder.name,
            float(record["until"]),
            int(record["generation"]),
            int(record["size_bytes"]),
            str(record["sealed"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _remove_older(lease: Lease) -> None:
    """Delete the sealed files that are not of the record's generation: nobody can open them."""
    for path in lease.folder.glob("*.*"):
        if path.name != RECORD and path.suffix != f".{lease.generation}":
            path.unlink(missing_ok=True)


def _folders(settings: Settings) -> Iterator[Path]:
    return (folder for folder in sorted(settings.leases.glob("*")) if folder.is_dir())


def _place(run_id: str) -> str:
    return f"failed VM of run {run_id}"
