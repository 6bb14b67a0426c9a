"""What a run came to as Markdown: a table can be broken by nothing that a name or a guest says."""

from pathlib import Path

from vmkiln.cli.view.run_report import append_report, run_report

SUMMARY = {
    "run_id": "0123abcd",
    "template": "web|x`",
    "state": "Failed",
    "message": "it failed\n```\n\x1b[2J",
    "phases": [
        {"name": "Customizing", "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:09Z", "seconds": 9.0},
        {"name": "Validating", "started": "2026-01-01T00:00:09Z", "ended": None, "seconds": None},
    ],
    "outputs": [
        {"name": "managed", "state": "Failed", "artifact_id": None, "artifact_uri": None, "message": "no | room"}
    ],
}


def test_the_page_tells_state_message_outputs_and_phases() -> None:
    page = run_report(SUMMARY)
    assert page.startswith("## Image `web\\|x'`: Failed\n")
    assert "it failed\n'''\n\\x1b[2J\n```\n" in page
    assert "| managed | Failed | `no \\| room` |" in page
    assert "| Customizing | 9.0 |" in page
    assert "Validating" not in page


def test_it_goes_behind_what_the_file_has(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    file.write_text("# Before\n")
    append_report(file, SUMMARY)
    assert file.read_text() == "# Before\n" + run_report(SUMMARY)
