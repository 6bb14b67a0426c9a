"""What may be left in an image is allowed by name."""

import pytest

from vmkiln.errors import InputError
from vmkiln.inspecting.residue import Allowed, Residue, allowed_of, residue_tag_mistakes, tag_of


def test_nothing_is_allowed_unless_it_is_named() -> None:
    assert allowed_of("", "") == Allowed()
    assert allowed_of("host-keys", " Machine-ID,history ") == Allowed(
        frozenset({Residue.HOST_KEYS, Residue.MACHINE_ID, Residue.HISTORY})
    )
    assert allowed_of("all").everything


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="`host-key` is nothing"):
        allowed_of("host-key")
    tags = {"VMKILN-residues": "history, nonsense"}
    assert tag_of(tags) == "history, nonsense"
    assert [mistake.path for mistake in residue_tag_mistakes(tags)] == ["tags.vmkiln-residues"]
    assert list(residue_tag_mistakes({"vmkiln-residues": "all"})) == []
