"""Which waiting runs may start."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vmkiln.fleet.admission import Host, Kept, Need, QueuePosition, Turns, Waiting, in_turn, positions
from vmkiln.run.room import NOTHING, Room

START = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = Room(2, 4096, 4096)
ROOM = Room(8, 32_768, 100_000)
SOME_NEED = Need(SMALL)
IDLE = Host("incarnation", "kiln", ROOM)
BUSY = Host("incarnation", "kiln", ROOM, promised=SMALL)


def waiting(name: str, *, subscription: str = "a", second: int = 0) -> Waiting:
    return Waiting(name, subscription, START + timedelta(seconds=second))


def small(_run_id: str) -> Need:
    return Need(SMALL)


def test_first_come_is_first_served_within_a_subscription() -> None:
    runs = [waiting("late", second=2), waiting("early", second=1)]
    assert [item.run_id for item in in_turn(runs, Turns())] == ["early", "late"]


def test_subscriptions_take_turns_however_many_runs_one_has() -> None:
    many = [waiting(f"a{number}", second=number) for number in range(4)]
    few = [waiting("b0", subscription="b", second=10), waiting("b1", subscription="b", second=11)]
    assert [item.run_id for item in in_turn([*many, *few], Turns())] == ["a0", "b0", "a1", "b1", "a2", "a3"]
    assert [item.run_id for item in in_turn([*many, *few], Turns({"a": 2}))] == ["b0", "b1", "a0", "a1", "a2", "a3"]


def test_with_room_for_one_at_a_time_subscriptions_still_take_turns() -> None:
    runs = [waiting(f"a{number}", second=number) for number in range(3)]
    runs.append(waiting("b0", subscription="b", second=10))
    served: dict[str, datetime] = {"a": START}
    order = []
    for second in range(4):
        first = in_turn(runs, Turns({}, served))[0]
        order.append(first.run_id)
        runs.remove(first)
        served[first.subscription] = START + timedelta(seconds=second + 1)
    assert order == ["b0", "a0", "a1", "a2"]


def test_as_many_start_as_there_is_room_for_and_the_others_say_why_they_wait() -> None:
    runs = [waiting(str(number), second=number) for number in range(6)]
    found = positions(in_turn(runs, Turns()), need_of=small, hosts=[BUSY])
    assert [queued.reason for queued in found] == [
        "", "", "", "waits for 2 CPUs (0 free)", "waits behind 4 others", "waits behind 5 others",
    ]  # fmt: skip
    assert [queued.position for queued in found] == [1, 2, 3, 4, 5, 6]


def test_every_lack_is_named_and_a_small_run_does_not_pass_a_large_one() -> None:
    needs = {"large": Need(Room(8, 30_000, 200_000)), "small": Need(SMALL)}
    queue = [waiting("large"), waiting("small", second=1)]
    found = positions(in_turn(queue, Turns({"a": 1})), need_of=needs.__getitem__, hosts=[BUSY])
    assert found[0].reason == (
        "waits for 8 CPUs (6 free) and 30000 MiB of memory (28672 free) and 100000 MiB of disk (95904 free)"
    )
    assert found[1].reason == "waits behind 1 other"


def test_a_run_larger_than_the_machine_gets_all_of_it_when_it_is_idle() -> None:
    def huge(_run_id: str) -> Need:
        return Need(Room(64, 999_999, 4096))

    queue = [waiting("huge")]
    assert positions(in_turn(queue, Turns()), need_of=huge, hosts=[IDLE])[0].reason == ""
    assert positions(in_turn(queue, Turns({"b": 1})), need_of=huge, hosts=[BUSY])[0].reason != ""


rooms = st.builds(Room, st.integers(1, 12), st.integers(1, 40_000), st.integers(1, 120_000))
runs = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), rooms), max_size=30)


@given(runs, rooms, st.dictionaries(st.sampled_from("abc"), st.integers(0, 5)))
def test_nothing_is_promised_twice_and_nobody_is_lost(
    items: list[tuple[str, int, Room]], capacity: Room, going_on: dict[str, int]
) -> None:
    queue = [waiting(str(number), subscription=item[0], second=item[1]) for number, item in enumerate(items)]
    needs = {str(number): item[2].capped(capacity) for number, item in enumerate(items)}
    ordered = in_turn(queue, Turns(going_on))
    found = positions(ordered, need_of=lambda run: Need(needs[run]), hosts=[Host("b", "h", capacity)])
    assert Counter(queued.run_id for queued in found) == Counter(item.run_id for item in queue)
    let_in = [queued for queued in found if not queued.reason]
    assert not sum((needs[queued.run_id] for queued in let_in), NOTHING).missing(capacity)
    assert found[: len(let_in)] == let_in, "who is let in stands before all others"
    for name in "abc":
        mine = [queued.run_id for queued in found if queue[int(queued.run_id)].subscription == name]
        assert mine == sorted(mine, key=lambda run: (queue[int(run)].queued, run))


def placed(found: list[QueuePosition]) -> dict[str, str]:
    """The host of each run that may start, or why it waits."""
    return {queued.run_id: queued.incarnation or queued.reason for queued in found}


def test_runs_are_spread_over_hosts_with_the_stronger_isolation_first() -> None:
    hosts = [
        Host("e", "emulated", Room(8, 32_768, 100_000), isolation_level="emulated"),
        Host("k", "kvm", Room(4, 32_768, 100_000), isolation_level="hardware"),
    ]
    queue = [waiting(str(number), second=number) for number in range(7)]
    found = placed(positions(in_turn(queue, Turns()), need_of=small, hosts=hosts))
    assert list(found.values())[:6] == ["k", "k", "e", "e", "e", "e"]
    assert found["6"] == "waits for 2 CPUs (0 free) on kvm or another host"


def test_regions_architectures_and_isolation_levels_are_honoured() -> None:
    hosts = [
        Host("w", "west", ROOM, region="westus2", architecture="x64", isolation_level="emulated"),
        Host("a", "arm", ROOM, architecture="Arm64", isolation_level="hardware"),
    ]
    needs = {
        "west": Need(SMALL, region="westus2", architecture="x64"),
        "east": Need(SMALL, region="eastus"),
        "arm": Need(SMALL, architecture="Arm64"),
        "mars": Need(SMALL, region="mars", architecture="x64"),
        "hard": Need(SMALL, isolation_level="hardware", architecture="x64"),
        "any": Need(SMALL),
    }
    queue = [waiting(name, second=number) for number, name in enumerate(needs)]
    found = placed(positions(in_turn(queue, Turns()), need_of=needs.__getitem__, hosts=hosts))
    assert (found["west"], found["east"], found["arm"]) == ("w", "a", "a")
    assert found["mars"] == (
        "waits for a host that suits it: west lacks the region mars, arm lacks the architecture x64"
    )
    assert found["hard"].startswith("waits for a host that suits it: west lacks the isolation level hardware")
    assert found["any"] in {"w", "a"}, "who waits for a host that is not there holds up nobody"


def test_a_large_run_holds_only_the_hosts_that_could_take_it() -> None:
    hosts = [Host("w", "west", ROOM, promised=SMALL, region="westus2"), Host("e", "east", ROOM, region="eastus")]
    needs = {
        "large": Need(Room(8, 1024, 1024), region="westus2"),
        "behind": Need(SMALL, region="westus2"),
        "elsewhere": Need(SMALL, region="eastus"),
    }
    queue = [waiting(name, second=number) for number, name in enumerate(needs)]
    found = placed(positions(in_turn(queue, Turns()), need_of=needs.__getitem__, hosts=hosts))
    assert found["large"].startswith("waits for 8 CPUs (6 free)")
    assert found["behind"] == "waits behind 1 other for the same hosts"
    assert found["elsewhere"] == "e"


def test_a_draining_host_gets_nothing_new() -> None:
    draining = Host("d", "draining", ROOM, is_draining=True)
    [queued] = positions(in_turn([waiting("run")], Turns()), need_of=small, hosts=[draining])
    assert queued.reason == "waits for a host that is not draining"
    [queued] = positions(in_turn([waiting("run")], Turns()), need_of=small, hosts=[draining, IDLE])
    assert queued.incarnation == IDLE.incarnation


def test_without_a_host_a_run_says_that_it_waits_for_one() -> None:
    [queued] = positions(in_turn([waiting("run")], Turns()), need_of=small, hosts=[])
    assert queued.reason == "waits for a host: no service or worker is at work"


def test_a_host_that_cannot_build_gets_nothing_and_is_named() -> None:
    unready = Host("u", "unfit", ROOM, unready="HostUnfit")
    [queued] = positions(in_turn([waiting("run")], Turns()), need_of=small, hosts=[unready])
    assert queued.reason == "waits for a host that can build: unfit is not ready (HostUnfit)"
    [queued] = positions(in_turn([waiting("run")], Turns()), need_of=small, hosts=[unready, IDLE])
    assert queued.incarnation == IDLE.incarnation


def test_a_run_goes_to_another_host_than_the_one_it_had_a_fault_with() -> None:
    first, second = Host("a", "first", ROOM, isolation_level="hardware"), Host("b", "second", ROOM)
    need = Need(SMALL, avoided=frozenset({"first"}))
    [queued] = positions(in_turn([waiting("run")], Turns()), need_of=lambda _: need, hosts=[first, second])
    assert queued.incarnation == "b"
    [queued] = positions(in_turn([waiting("run")], Turns()), need_of=lambda _: need, hosts=[first])
    assert queued.incarnation == "a", "there is no other"


def test_a_run_that_gets_a_host_says_why_there_and_why_nowhere_else() -> None:
    def why(*hosts: Host, need: Need = SOME_NEED) -> str:
        [queued] = positions(in_turn([waiting("run")], Turns()), need_of=lambda _: need, hosts=hosts)
        return queued.why_there

    kvm = Host("k", "kvm", Room(4, 32_768, 100_000), isolation_level="hardware")
    full = Host("f", "full", SMALL, promised=SMALL)
    assert why(IDLE) == "it is the only host"
    assert why(IDLE, kvm) == "kvm has the strongest isolation of 2 hosts with room (4 CPUs and 32768 MiB free)"
    larger = Host("l", "larger", Room(16, 65_536, 100_000))
    assert why(IDLE, larger) == "larger is the emptiest of 2 hosts with room (16 CPUs and 65536 MiB free)"
    others = (
        Host("d", "parting", ROOM, is_draining=True),
        Host("u", "unfit", ROOM, unready="HostUnfit"),
        Host("a", "arm", ROOM, architecture="Arm64"),
        Host("b", "bad", ROOM),
        full,
    )
    need = Need(SMALL, architecture="x64", avoided=frozenset({"bad"}))
    assert why(IDLE, *others, need=need) == (
        "kiln alone suits it and has room (8 CPUs and 32768 MiB free); not parting (draining), "
        "unfit (not ready: HostUnfit), arm (lacks the architecture x64), bad (had a fault with it), "
        "full (lacks 2 CPUs (0 free) and 4096 MiB of memory (0 free) and 4096 MiB of disk (0 free))"
    )
    many = [Host(str(number), f"h{number}", ROOM, is_draining=True) for number in range(12)]
    assert why(IDLE, *many).endswith("h7 (draining), 4 more")


def test_who_is_placed_behind_a_large_run_says_which_host_is_kept_for_that() -> None:
    hosts = [Host("w", "west", ROOM, promised=SMALL), Host("e", "east", ROOM, region="eastus")]
    needs = {"large": Need(Room(8, 1024, 1024), region="westus2"), "small": Need(SMALL)}
    queue = [waiting(name, second=number) for number, name in enumerate(needs)]
    [_, small_one] = positions(in_turn(queue, Turns()), need_of=needs.__getitem__, hosts=hosts)
    assert small_one.why_there.endswith("; not west (kept for a run before it)")


def test_a_run_goes_where_its_source_is_kept_while_there_is_room() -> None:
    def where(*hosts: Host, room: Room = SMALL) -> tuple[str, str]:
        need = Need(room, kept=Kept({"k": False, "b": True}, frozenset({"c"}), frozenset({"l"})))
        [queued] = positions(in_turn([waiting("run")], Turns()), need_of=lambda _: need, hosts=hosts)
        return queued.incarnation, queued.why_there

    empty = Host("e", "empty", Room(16, 65_536, 100_000))
    keeper, booted = Host("k", "keeper", ROOM), Host("b", "booted", ROOM, promised=SMALL)
    alone = "of 2 hosts with room keeper alone keeps its source image (8 CPUs and 32768 MiB free)"
    assert where(empty, keeper) == ("k", alone)
    text = "of 3 hosts with room booted alone keeps a booted VM of its source image (6 CPUs and 28672 MiB free)"
    assert where(empty, keeper, booted) == ("b", text)
    assert where(keeper, booted)[0] == "b"
    lender = Host("l", "lender", ROOM, promised=SMALL)
    borrowed = "of 3 hosts with room lender alone keeps checkpoints that its template may borrow (6 CPUs"
    assert where(empty, booted, lender)[1].startswith(borrowed)
    further = Host("c", "further", ROOM, promised=SMALL)
    assert where(lender, further)[0] == "c", "its own are nearer"
    assert where(empty, booted, further)[1].startswith("of 3 hosts with room further alone keeps checkpoints of its")
    assert where(empty, keeper, booted, room=ROOM)[0] == "k", "the other has no room for it"
    assert where(empty, Host("k", "keeper", ROOM, promised=ROOM))[0] == "e", "nor has any that keeps it"
    strong = Host("s", "strong", ROOM, isolation_level="hardware")
    assert where(keeper, strong) == (
        "s", "strong has the strongest isolation of 2 hosts with room (8 CPUs and 32768 MiB free)",
    )  # fmt: skip


def test_who_may_not_know_the_hosts_is_told_no_name_of_one() -> None:
    hosts = [
        Host("a", "first-host", ROOM, promised=ROOM, region="westus2", isolation_level="hardware"),
        Host("b", "second-host", ROOM, region="eastus", unready="HostUnfit"),
        Host("c", "third-host", ROOM, region="north", is_draining=True),
    ]
    needs = {
        "unready": Need(SMALL, region="eastus"),
        "draining": Need(SMALL, region="north"),
        "mars": Need(SMALL, region="mars"),
        "room": Need(SMALL, region="westus2"),
        "behind": Need(SMALL, region="westus2"),
    }
    queue = [waiting(name, second=number) for number, name in enumerate(needs)]
    found = {one.run_id: one for one in positions(in_turn(queue, Turns()), need_of=needs.__getitem__, hosts=hosts)}
    assert sum("-host" in one.reason for one in found.values()) == 3
    assert not any("-host" in one.told for one in found.values())
    assert all(one.told.startswith("waits ") for one in found.values())
    assert found["mars"].told == "waits for a host that suits it: none has the region mars"
