"""Who or what began a run, in a few words for a row of a list; pure."""

from collections.abc import Mapping
from typing import Any

AGAIN = "retry"
BY_ITSELF = "autoRun"


def begun_words(properties: Mapping[str, Any]) -> str:
    """Of a run in the list of all runs; '' where that is not known."""
    reason, who = str(properties["reason"]), str(properties["begunBy"])
    by = f"by {who}" if who else ""
    if properties["origin"] == "local":
        return f"vmkiln build {by}" if who else "by a command"  # only builds say whose they are
    if reason.startswith("trigger "):
        return f"by the {reason}"
    if reason == BY_ITSELF:
        return "by itself, when its template was made"
    if reason == AGAIN:
        return f"again {by}".strip()
    return by or ("by hand" if reason else "")
