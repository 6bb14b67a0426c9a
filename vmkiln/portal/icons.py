"""Small pictures beside words: each is a path in a box of 16 by 16, drawn by this project."""

ICONS = {
    "done": "M2.5 8.5l3.5 3.5 7.5-8",
    "failed": "M3.5 3.5l9 9M12.5 3.5l-9 9",
    "stopped": "M3.5 8h9",
    "going": "M8 2.5v3M8 10.5v3M2.5 8h3M10.5 8h3M4 4l2 2M10 10l2 2M12 4l-2 2M6 10l-2 2",
    "waiting": "M4 2.5h8M4 13.5h8M5 2.5c0 5 6 6 6 11M11 2.5c0 5-6 6-6 11",
    "warning": "M8 2l6.5 12h-13zM8 6.5v3.5M8 11.8v.4",
    "unknown": "M8 3.5a4.5 4.5 0 110 9 4.5 4.5 0 010-9",
    "run": "M4 2.5l9 5.5-9 5.5z",
    "template": "M3 2.5h10v11H3zM5.5 6h5M5.5 8.5h5M5.5 11h3",
    "image": "M2.5 5.5L8 2.5l5.5 3v5L8 13.5l-5.5-3zM2.5 5.5L8 8.5l5.5-3M8 8.5v5",
    "host": "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.1M5 11h.1",
    "queue": "M3 4h10M3 8h7M3 12h4",
    "group": "M2.5 4.5h4l1.5 2h5.5v6.5h-11z",
    "activity": "M1.5 8.5h3l2-5 3 9 2-4h3",
    "access": "M5.5 8a2.5 2.5 0 115-0 2.5 2.5 0 01-5 0M3 13.5c1-3 9-3 10 0",
    "new": "M8 3v10M3 8h10",
}
"""Path data (SVG, `d`) by the icon's name; strokes only."""

KIND_OF_STATE = {
    "succeeded": ("ok", "done"),
    "active": ("ok", "done"),
    "healthy": ("ok", "done"),
    "enabled": ("ok", "done"),
    "live": ("ok", "done"),
    "allow": ("ok", "done"),
    "failed": ("bad", "failed"),
    "dead": ("bad", "failed"),
    "deny": ("bad", "failed"),
    "partiallysucceeded": ("warn", "warning"),
    "notready": ("warn", "warning"),
    "suspended": ("warn", "warning"),
    "disabled": ("warn", "stopped"),
    "canceled": ("muted", "stopped"),
    "stopped": ("muted", "stopped"),
    "drained": ("muted", "stopped"),
    "queued": ("warn", "waiting"),
    "waiting": ("warn", "waiting"),
    "draining": ("warn", "waiting"),
    "running": ("accent", "going"),
    "canceling": ("accent", "going"),
    "creating": ("accent", "going"),
    "updating": ("accent", "going"),
    "deleting": ("accent", "going"),
    "started": ("accent", "going"),
}


def kind_of_state(word: str) -> tuple[str, str]:
    """The colour (a name of the sheet's tokens) and the icon of a state's word; one that is not known is muted."""
    return KIND_OF_STATE.get(word.lower(), ("muted", "unknown"))
