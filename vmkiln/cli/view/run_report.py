"""What a run came to as a page of Markdown, for the summary of a CI."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vmkiln.files.durable_file import reported
from vmkiln.harmless_text import harmless


def run_report(summary: Mapping[str, Any]) -> str:
    """The page: state, message, outputs, phases; `summary` is what `vmkiln run show --json` prints. Pure."""
    lines = [f"## Image `{_cell(summary['template'])}`: {summary['state']}", "", f"Run `{summary['run_id']}`.", ""]
    if summary["message"]:
        lines += [
            "```text",
            *(harmless(line).replace("```", "'''") for line in summary["message"].split("\n")),
            "```",
            "",
        ]
    if summary["outputs"]:
        lines += ["| output | state | image |", "|---|---|---|"]
        for one in summary["outputs"]:
            target = one["artifact_id"] or one["artifact_uri"] or one["message"]
            lines.append(f"| {_cell(one['name'])} | {one['state']} | `{_cell(target)}` |")
        lines.append("")
    done = [phase for phase in summary["phases"] if phase["ended"]]
    if done:
        lines += [
            "| phase | seconds |",
            "|---|---|",
            *(f"| {item['name']} | {item['seconds']:.1f} |" for item in done),
            "",
        ]
    return "\n".join(lines)


def _cell(text: object) -> str:
    return harmless(str(text)).replace("|", "\\|").replace("`", "'")


def append_report(path: Path, summary: Mapping[str, Any]) -> None:
    """Put the page behind what the file has, as a CI's summary file wants it. Raises: `StorageFailed`."""
    with reported(f"writing {path}"), path.open("a", encoding="utf-8") as file:
        file.write(run_report(summary))
