"""What the kernel's messages say of connections, and what becomes of them in a run's flow log."""

import json
import os
import socket
from dataclasses import asdict, replace
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkiln.host.egress.name_proxy import Passage
from vmkiln.host.egress.resolver_program import Told
from vmkiln.host.network import flow_log, flow_program
from vmkiln.host.network.conntrack import DELETE, DONE, Connection, asking_for_all, connections_in
from vmkiln.host.network.flow_log import FlowEntry, FlowLog, Whereabouts, dropped_in, entry_of, refused_in
from vmkiln.staging.virtual_network import decide

# as a kernel told it: a datagram from 127.0.0.1:5555 to itself, of 29 bytes, and when it was forgotten
FORGOTTEN = bytes.fromhex(
    "f4000000020100000000000036350000020000003400018014000180080001007f000001080002007f0000011c0002800500010011"
    "0000000600020015b300000600030015b300003400028014000180080001007f000001080002007f0000011c000280050001001100"
    "00000600020015b300000600030015b3000008000c00e9de5a130800030000000208080007000000001d1c0009800c000100000000"
    "00000000010c000200000000000000001d1c000a800c00010000000000000000000c00020000000000000000001c0014800c000100"
    "18ec497910179705"
    "0c00020018ec497911493cb30c001b0018ec497911493e07"
)
END = bytes.fromhex("1400000003000200010000003635000000000000")
NETWORK = decide([IPv4Interface("192.0.2.2/24")], is_windows=False).network
TALK = Connection(7, str(NETWORK.far.guest), "203.0.113.10", "tcp", 4000, 443, 1000.5, 1003.0, 9, 900, 12, 45000, True)


def test_a_message_of_the_kernels_is_read() -> None:
    [(kind, found), (end, nothing)] = connections_in(FORGOTTEN + END)
    assert (kind, end, nothing) == (DELETE, DONE, None)
    assert found is not None
    assert (found.source, found.destination, found.protocol) == ("127.0.0.1", "127.0.0.1", "udp")
    assert (found.source_port, found.port, found.packets_out, found.bytes_out) == (5555, 5555, 1, 29)
    assert 0 < found.end - found.begin < 1


@given(st.lists(st.tuples(st.integers(0, 250), st.binary(max_size=4)), max_size=6), st.integers(0, 260))
def test_whatever_is_cut_or_changed_is_read_as_far_as_it_goes(changes: list[tuple[int, bytes]], size: int) -> None:
    message = FORGOTTEN + END
    for at, piece in changes:
        message = message[:at] + piece + message[at + len(piece) :]
    assert len(list(connections_in(message[:size]))) <= 16


def test_the_request_for_all_is_as_long_as_it_says() -> None:
    request = asking_for_all()
    assert int.from_bytes(request[:4], "little") == len(request) == 20


@pytest.fixture
def flows(monkeypatch: pytest.MonkeyPatch) -> FlowLog:
    """A log of a run that was at its second step from second 1000 on."""
    where = Whereabouts()
    for vm, step in (("", "Building"), ("build-vm", "Customizing: update")):
        where.note(vm, step)
    where._times[:] = [900.0, 1000.0]
    return FlowLog(NETWORK, where, lambda text: text.replace("hunter22", "***"))


def entries(flows: FlowLog) -> list[FlowEntry]:
    return [entry for line in flows.take_lines().splitlines() if (entry := entry_of(line)) is not None]


def test_a_connection_is_told_with_its_vm_step_and_name(flows: FlowLog) -> None:
    flows.question(Told(1000.1, str(NETWORK.far.guest), "deb.debian.org", "A", "NOERROR", ("203.0.113.10",), "allowed"))
    flows.connection(TALK)
    asked, talked = entries(flows)
    assert (asked.protocol, asked.name, asked.detail) == ("dns", "deb.debian.org", "A NOERROR 203.0.113.10")
    assert (talked.vm, talked.step, talked.name) == ("build-vm", "Customizing: update", "deb.debian.org")
    assert (talked.address, talked.port, talked.protocol) == ("203.0.113.10", 443, "tcp")
    assert (talked.bytes_out, talked.bytes_in, talked.packets_out, talked.packets_in) == (900, 45000, 9, 12)
    assert talked.time == "1970-01-01T00:16:40.500+00:00"


def test_each_connection_is_told_once(flows: FlowLog) -> None:
    """It may be forgotten while all that are remembered are told."""
    flows.line(json.dumps(asdict(TALK)))
    flows.connection(TALK)
    flows.line("noise")
    flows.connection(replace(TALK, id=8))
    assert len(entries(flows)) == 2


def test_of_addresses_beyond_the_limit_no_name_is_remembered(flows: FlowLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest asks for as many names as it likes."""
    monkeypatch.setattr(flow_log, "MOST_NAMES", 2)
    for name, number in (*((f"n{number}", number) for number in range(5)), ("new", 1)):
        told = Told(1000.1, str(NETWORK.far.guest), f"{name}.example", "A", "", (f"203.0.113.{number}",), "allowed")
        flows.question(told)
    assert flows._names == {"203.0.113.0": "n0.example", "203.0.113.1": "new.example"}


def test_a_secret_in_a_name_is_masked(flows: FlowLog) -> None:
    flows.question(Told(1000.1, str(NETWORK.far.guest), "hunter22.example", "A", "", ("203.0.113.10",), "allowed"))
    flows.connection(TALK)
    assert [entry.name for entry in entries(flows)] == ["***.example", "***.example"]


def test_a_secret_in_a_steps_name_is_masked(flows: FlowLog) -> None:
    flows._where.note("build-vm", "Customizing: use hunter22")
    flows.connection(replace(TALK, begin=flows._where._times[-1] + 1))
    assert [entry.step for entry in entries(flows)] == ["Customizing: use ***"]


def test_who_opened_it_is_told_by_the_address(flows: FlowLog) -> None:
    flows.connection(replace(TALK, source=str(NETWORK.near.guest)))
    flows.connection(replace(TALK, source="10.0.2.2"))
    assert [entry.vm for entry in entries(flows)] == ["container-group", "the run's own services"]


def test_what_the_name_proxy_took_is_told(flows: FlowLog) -> None:
    flows.passage(Passage(1000.2, "deb.debian.org", "203.0.113.9", "203.0.113.10", 443, 5, 6, "allowed"))
    [told] = entries(flows)
    assert (told.name, told.address, told.bytes_out, told.detail) == (
        "deb.debian.org",
        "203.0.113.10",
        5,
        "by the name proxy",
    )


def test_who_was_refused_is_told_at_the_end(flows: FlowLog) -> None:
    element = {
        "val": {"concat": [str(NETWORK.far.guest), "10.9.9.9", "tcp", 22]},
        "counter": {"packets": 3, "bytes": 180},
    }
    listed = json.dumps({"nftables": [{"metainfo": {}}, {"set": {"name": "refused", "elem": [{"elem": element}]}}]})
    assert refused_in(listed) == [((str(NETWORK.far.guest), "10.9.9.9", "tcp", 22), 3, 180)]
    flows.refused(listed)
    flows.end()
    [told] = entries(flows)
    assert (told.address, told.port, told.verdict, told.packets_out, told.bytes_out) == (
        "10.9.9.9",
        22,
        "refused",
        3,
        180,
    )


def test_beyond_its_room_entries_are_counted(flows: FlowLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_log, "MOST_ENTRIES", 2)
    for number in range(5):
        flows.connection(replace(TALK, id=number))
    flows.end()
    lines = flows.take_lines().splitlines()
    assert len(lines) == 3
    assert dropped_in(lines[-1]) == 3
    assert entry_of(lines[-1]) is None
    assert dropped_in(lines[0]) == 0
    assert len(flows._told) == 2, "what is only counted is not remembered"


def test_of_more_connections_than_a_log_has_entries_the_number_is_told(
    flows: FlowLog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service reads each line, between those of all other runs."""
    monkeypatch.setattr(flow_program, "MOST_TOLD", 2)
    teller = flow_program.Teller()
    for number in range(7):
        teller.tell(replace(TALK, id=number))
        teller.pass_on()
    teller.pass_on(is_over=True)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line).get("more") for line in lines] == [None, None, 1, 4]
    for line in lines:
        flows.line(line)
    assert (len(entries(flows)), flows.dropped) == (2, 5)


def test_one_that_was_told_is_not_counted_as_dropped_at_the_end(
    flows: FlowLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_log, "MOST_ENTRIES", 1)
    flows.connection(TALK)
    flows.connection(TALK)
    assert (len(entries(flows)), flows.dropped) == (1, 0)


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", '{"time": 1', "7", '{"dropped": 1e999}', "[" * 100_000], ids=lambda line: line[:20]
)
def test_a_torn_line_is_none(line: str) -> None:
    assert entry_of(line) is None
    assert dropped_in(line) == 0


def test_whether_the_kernel_kept_something_back_is_read_from_its_table(tmp_path: Path) -> None:
    """Its columns are sk, Eth, Pid, Groups, Rmem, Wmem, Dump, Locks, Drops and Inode."""
    table = tmp_path / "netlink"
    with socket.socket(socket.AF_UNIX) as ear:
        own = os.fstat(ear.fileno()).st_ino
        for drops, is_over in ((0, False), (3, True)):
            table.write_text(f"sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode\n0 12 7 4 0 0 0 2 {drops} {own}\n")
            assert flow_program.was_overrun(ear, str(table)) is is_over
        table.write_text("")
        assert flow_program.was_overrun(ear, str(table)), "what cannot be seen may have been so"
