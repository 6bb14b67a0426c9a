"""The pictures of the screens of a run's VMs, which only Windows VMs have: a list, and each as PNG.

Whoever may read a run may see them. They are on the host that had the run, as long as its logs are.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.api.storage.byte_range import file_answer
from vmkiln.api.virtual_machine_images.past_runs import EVERY_RUN, RUN, read_run, routes_of_run
from vmkiln.api.virtual_machine_images.run_logs import log_file
from vmkiln.errors import ArmError
from vmkiln.run.guest.screen import pictures_in
from vmkiln.staging.storage_account import PICTURE

KIND = "customization"  # the pictures lie beside this log


def list_pictures(call: Call) -> Answer:
    """GET the pictures of a run's screens on this host, the newest first: {value: [{name, vm, time, sizeBytes}]}."""
    return Answer(200, {"value": [found for file in reversed(_pictures(call)) if (found := _body(file))]})


def get_picture(call: Call) -> Answer:
    """GET one picture as PNG, by its name in the list."""
    for file in _pictures(call):
        if file.name == call.names["picture"]:
            try:
                return file_answer(file, call.headers, PICTURE)
            except FileNotFoundError:  # the run goes on, and has newer ones
                break
    raise ArmError(404, "ResourceNotFound", f"The picture '{call.names['picture'][:80]}' was not found.")


def _pictures(call: Call) -> list[Path]:
    run = read_run(call)
    file, _ = log_file(call, run, KIND)
    return pictures_in(file.parent)


def _body(file: Path) -> dict[str, Any] | None:
    try:
        status = file.stat()
    except FileNotFoundError:  # as above
        return None
    taken = datetime.fromtimestamp(status.st_mtime, UTC)
    vm = file.name.partition("-screen-")[0]
    return {"name": file.name, "vm": vm, "time": time_text(taken), "sizeBytes": status.st_size}


ROUTES = (
    *routes_of_run("pictures", "ListPictures", list_pictures),
    *(
        Route(
            "GET",
            f"{run}/pictures/{{picture}}",
            operation,
            permission,
            get_picture,
            media_types=(PICTURE,),
            has_parts=True,
        )
        for run, operation, permission in (
            (RUN, "Runs_GetPicture", Permission.READ),
            (EVERY_RUN, "AllRuns_GetPicture", Permission.ANY),
        )
    ),
)
