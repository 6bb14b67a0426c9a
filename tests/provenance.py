"""A key of images, and a statement that it may sign."""

from datetime import UTC, datetime
from typing import Any

from vmkiln.provenance import image_key
from vmkiln.provenance.statement import BuildRecord, Material, Subject, statement
from vmkiln.sealing.key_ring import Key, Purpose

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
DIGEST = "0123456789abcdef" * 4


def a_key() -> Key:
    made = image_key.new_material()
    return Key(made.key_id, Purpose.IMAGES, NOW, made.secret, made.public)


A_KEY, OTHER_KEY = a_key(), a_key()


def a_record(**changed: Any) -> BuildRecord:
    known: dict[str, Any] = {
        "run_id": "0123abcd-0000-4000-8000-000000000000",
        "isolation_level": "emulated",
        "chosen": {"template": {"location": "here"}},
        "decided": {"accelerator": "tcg"},
        "materials": [Material("source", "a" * 64, "https://images.example/12", {"exactVersion": "12.1"})],
        "byproducts": [Material("flows.jsonl", "b" * 64)],
        "versions": {"vmkiln": "0.2.0", "packer": "1.9.5"},
        "began": NOW,
    }
    return BuildRecord(**{**known, **changed})


A_STATEMENT = statement([Subject("web/disk.qcow2", DIGEST)], a_record(), finished=NOW)
