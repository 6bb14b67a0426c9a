"""A template file becomes one image template, or every mistake in it."""

from pathlib import Path

import pytest

from vmkiln.errors import TemplateInvalid
from vmkiln.template.template_file import read_image_template

EXAMPLE = Path(__file__).parents[2] / "examples/hello-linux/template.json"


def test_the_example_is_read() -> None:
    found = read_image_template(EXAMPLE.read_text(), file_name="template.json")
    assert found.name == "hello-linux"
    assert found.api_version == "2025-10-01"
    assert found.image_template.os_type == "Linux"
    assert found.image_template.build_timeout_seconds == 1800
    assert [file.uri for file in found.image_template.scripts] == ["file:hello.sh", "file:motd"]


def test_what_is_no_template_is_refused() -> None:
    with pytest.raises(TemplateInvalid, match="neither the body"):
        read_image_template("{}", file_name="x.json")
