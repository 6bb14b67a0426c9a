"""Checkpoints: whom they serve and for how long, and that a template's are bounded and go with it."""

import json
import os
from pathlib import Path

import pytest

from vmkiln.host.saved import saved_vm
from vmkiln.warm import checkpoint
from vmkiln.warm.checkpoint import About, scope_of

SCOPE = scope_of(template_id="/subscriptions/S/web", resource_group="", name="")
NOW = 1_000_000.0
DAY = 86_400.0


def kept(
    folder: Path,
    name: str,
    *,
    position: int = 1,
    scope: str = SCOPE,
    made: float = NOW,
    used: int = 1,
    instance: str = "instance",
) -> str:
    """A checkpoint of 1 MiB; its key."""
    key = saved_vm.key_of({"name": name})
    workplace = saved_vm.begun(folder, key)
    (workplace / saved_vm.MEMORY).write_bytes(b"m" * saved_vm.MIB)
    about = About(scope, position, f"step {position}", "run", "web", made, instance)
    saved_vm.finished(workplace, b"devices", "digest", about=checkpoint.record_of(about))
    saved_vm.named(workplace)
    os.utime(folder / key, (used, used))
    return key


def found(folder: Path, key: str, scope: str = SCOPE, *, most_age: float = DAY, now: float = NOW) -> bool:
    return checkpoint.found(folder, key, scope, most_age_seconds=most_age, now=now) is not None


def names(folder: Path) -> set[str]:
    return {one.key for one in checkpoint.all_of(folder)}


def test_a_checkpoint_serves_the_template_that_made_it_and_no_other(tmp_path: Path) -> None:
    key = kept(tmp_path, "a")
    assert found(tmp_path, key)
    assert not found(tmp_path, saved_vm.key_of({"name": "b"}))
    for other in (
        scope_of(template_id="/subscriptions/S/other", resource_group="", name=""),
        scope_of(template_id="", resource_group="S", name="web"),
    ):
        assert not found(tmp_path, key, other)


def test_commands_of_two_users_or_of_two_names_have_two_scopes(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = scope_of(template_id="", resource_group="rg", name="web")
    assert ours == scope_of(template_id="", resource_group="RG", name="Web")
    others = {scope_of(template_id="", resource_group="rg", name="db")}
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    others.add(scope_of(template_id="", resource_group="rg", name="web"))
    assert ours not in others
    assert scope_of(template_id="/S/Web", resource_group="rg", name="web") == "template:/s/web"


def test_one_that_is_too_old_or_from_the_future_is_not_used(tmp_path: Path) -> None:
    key = kept(tmp_path, "a")
    assert found(tmp_path, key, now=NOW + DAY)
    assert not found(tmp_path, key, now=NOW + DAY + 1)
    assert not found(tmp_path, key, now=NOW + 1, most_age=0)
    assert not found(tmp_path, key, now=NOW - DAY), "a clock that was set back tells no age"


@pytest.mark.parametrize("broken", ["{", "[]", '{"memory": "m", "devices": "d"}', '{"about": {"scope": "x"}}'])
def test_a_record_that_cannot_be_read_is_no_checkpoint(broken: str, tmp_path: Path) -> None:
    key = kept(tmp_path, "a")
    record = tmp_path / key / saved_vm.RECORD
    record.chmod(0o600)
    record.write_text(broken)
    assert not found(tmp_path, key)
    assert checkpoint.all_of(tmp_path) == []


def test_what_others_keep_in_the_same_folder_is_no_checkpoint(tmp_path: Path) -> None:
    workplace = saved_vm.begun(tmp_path, "base")
    (workplace / saved_vm.MEMORY).write_bytes(b"m")
    saved_vm.finished(workplace, b"devices", "digest")
    saved_vm.named(workplace)
    assert checkpoint.all_of(tmp_path) == []
    checkpoint.forget(tmp_path)
    assert saved_vm.found(tmp_path, "base") is not None


def test_a_newer_one_takes_the_place_of_its_templates_same_position_only(tmp_path: Path) -> None:
    older, other_position = kept(tmp_path, "a"), kept(tmp_path, "b", position=2)
    others = kept(tmp_path, "c", scope="template:/s/other")
    newer = kept(tmp_path, "d")
    own = next(one for one in checkpoint.all_of(tmp_path) if one.key == newer)
    checkpoint.replace_others(tmp_path, own)
    assert names(tmp_path) == {other_position, others, newer}
    assert older not in names(tmp_path)


def test_checkpoints_take_half_of_the_room_at_most_and_leave_bases_alone(tmp_path: Path) -> None:
    workplace = saved_vm.begun(tmp_path, "base")
    (workplace / saved_vm.MEMORY).write_bytes(b"m" * saved_vm.MIB)
    saved_vm.finished(workplace, b"devices", "digest")
    saved_vm.named(workplace)
    os.utime(tmp_path / "base", (0, 0))
    keys = [kept(tmp_path, str(number), position=number, used=number) for number in range(1, 5)]
    checkpoint.make_room(tmp_path, most_bytes=5 * saved_vm.MIB, keep=keys[0])
    assert names(tmp_path) == {keys[0], keys[3]}, "the one just made, and the one used last"
    assert saved_vm.found(tmp_path, "base") is not None


def test_one_template_does_not_push_out_what_others_have(tmp_path: Path) -> None:
    others = {kept(tmp_path, name, scope=f"template:/s/{name}", used=1) for name in ("x", "y")}
    keys = [kept(tmp_path, str(number), position=number, used=100 + number) for number in range(1, 6)]
    checkpoint.make_room(tmp_path, most_bytes=9 * saved_vm.MIB, keep=keys[4])
    assert names(tmp_path) == others | {keys[3], keys[4]}, "its own that was used least lately goes, not an older one"


def test_one_that_is_alone_too_large_goes(tmp_path: Path) -> None:
    key = kept(tmp_path, "a")
    checkpoint.make_room(tmp_path, most_bytes=saved_vm.MIB, keep=key)
    assert names(tmp_path) == set()


def test_old_ones_go_and_those_whose_template_is_gone(tmp_path: Path) -> None:
    of_a_command = scope_of(template_id="", resource_group="rg", name="web")
    old, orphan = kept(tmp_path, "a", made=NOW - 8 * DAY), kept(tmp_path, "b", scope="template:/s/gone")
    left = {kept(tmp_path, "c"), kept(tmp_path, "d", scope=of_a_command)}
    checkpoint.remove_old(tmp_path, live_templates=lambda: frozenset({"/subscriptions/s/web"}), now=NOW)
    assert names(tmp_path) == left
    assert not {old, orphan} & left


def test_what_served_a_template_is_forgotten_with_it_and_its_bytes(tmp_path: Path) -> None:
    key, other = kept(tmp_path, "a"), kept(tmp_path, "b", scope="template:/s/other")
    assert [one.key for one in checkpoint.forget(tmp_path, SCOPE)] == [key]
    assert names(tmp_path) == {other}
    assert not (tmp_path / key).exists()


def test_to_list_them_is_no_use_of_them(tmp_path: Path) -> None:
    key = kept(tmp_path, "a", used=7)
    (one,) = checkpoint.as_data(checkpoint.all_of(tmp_path), NOW + 60)
    assert (tmp_path / key).stat().st_mtime == 7
    assert json.loads(json.dumps(one)) == {
        "key": key,
        "scope": SCOPE,
        "position": 1,
        "step": "step 1",
        "run_id": "run",
        "template": "web",
        "age_seconds": 60,
        "size_mib": 1,
    }


def test_only_their_records_are_read_to_tell_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, position in (("a", 2), ("b", 1)):
        kept(tmp_path, name, position=position)
    kept(tmp_path, "c", scope="template:/s/other")
    saved_vm.begun(tmp_path, "d")

    def refuse(*_values: object, **_options: object) -> None:
        raise AssertionError("a use was noted, or a file looked at")

    for module, name in ((os, "utime"), (saved_vm, "found"), (saved_vm, "bytes_of")):
        monkeypatch.setattr(module, name, refuse)
    assert [one.position for one in checkpoint.told_of(tmp_path, SCOPE)] == [1, 2]


def test_a_whole_builds_disk_and_a_new_last_checkpoint_stay_both(tmp_path: Path) -> None:
    """Of a template that got one customizer more, the new one is behind as many as the older disk is."""
    whole, step = kept(tmp_path, "whole", position=3, instance=""), kept(tmp_path, "step", position=3)
    by_key = {one.key: one for one in checkpoint.all_of(tmp_path)}
    checkpoint.replace_others(tmp_path, by_key[step])
    checkpoint.replace_others(tmp_path, by_key[whole])
    assert names(tmp_path) == {whole, step}
    newer = kept(tmp_path, "newer", position=4, instance="")
    checkpoint.replace_others(tmp_path, next(one for one in checkpoint.all_of(tmp_path) if one.key == newer))
    assert names(tmp_path) == {newer, step}, "one disk of whole builds for each template"
