"""The contract of `--json`, against which tests hold what commands print."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs

CONTRACT = json.loads((Path(__file__).parents[1] / "docs/reference/command-line.schema.json").read_text())


def check(answer: Any, shape: Any) -> None:
    """Raises: `ValidationError` of jsonschema_rs, which says where an answer has another shape."""
    jsonschema_rs.validator_for({**shape, "$defs": CONTRACT["$defs"]}).validate(answer)


def check_answer(command: str, answer: Any) -> None:
    """Hold what a command printed, such as `image diff`, against its shape."""
    check(answer, CONTRACT["commands"][command])
