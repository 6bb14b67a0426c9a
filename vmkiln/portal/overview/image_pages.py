"""Images: the list, one of them with where it comes from and where it is used, its file, and how two differ."""

import asyncio
from urllib.parse import urlencode

from starlette.responses import Response

from vmkiln.azure_names import ALL_RUNS
from vmkiln.errors import ArmError
from vmkiln.portal.overview.acts import events_of
from vmkiln.portal.overview.allowed import allowed_to
from vmkiln.portal.overview.listed import asked, next_address, one_page
from vmkiln.portal.passing_on import PassedOn
from vmkiln.portal.rendering import page
from vmkiln.portal.told import Done
from vmkiln.portal.visit import PREFIX, Visit, check_typed, done

IMAGES = "/providers/Vmkiln.Builds/images"
DETAILS = "providers/Vmkiln.Builds/details"
DIFFERENCE = "providers/Vmkiln.Builds/difference"
FILE = "providers/Vmkiln.Builds/files/disk"
KINDS = ("ManagedImage", "SharedImageVersion", "VHD")
MOST_REASON_LETTERS = 200


async def images(visit: Visit) -> Response:
    """Images that the visitor may read, the newest first, 50 a page."""
    query = asked(visit, "q", "kind")
    found, after = await one_page(visit, IMAGES, query)
    return await page(
        "images.html",
        title="Images",
        section="images",
        images=found,
        query=query,
        kinds=KINDS,
        older=next_address("/images", query, after),
    )


async def image(visit: Visit) -> Response:
    """One image: what it is, the way from its source through its run to what was built of it."""
    found = await visit.api.ask("GET", visit.id)
    details = await visit.api.ask("GET", f"{visit.id}/{DETAILS}")
    (others, _), events, allowed, has_gallery = await asyncio.gather(
        one_page(visit, IMAGES, {}), events_of(visit, visit.id), allowed_to(visit), _has_gallery(visit, visit.id)
    )
    run_id = details["properties"]["runId"]  # '' of one that no run made
    same_run = await visit.api.readable(f"{ALL_RUNS}/{run_id}") if run_id else {}
    return await page(
        "image.html",
        title=details["name"],
        section="images",
        id=found["id"],
        has_gallery=has_gallery,
        image=found,
        details=details,
        may=allowed.may,
        run=same_run,
        events=events,
        others=[other for other in others if other["id"].lower() != found["id"].lower()],
    )


async def _has_gallery(visit: Visit, image_id: str) -> bool:
    """Whether what a gallery's version lies in has pages; a gallery that `vmkiln build` published to is no resource."""
    definition, is_version, _ = image_id.partition("/versions/")
    return not is_version or bool(await visit.api.readable(definition))


async def act(visit: Visit) -> Response:
    """Delete an image, with the reason that the audit keeps."""
    form = await visit.form()
    if form.get("action") != "delete":
        raise ArmError(400, "InvalidParameter", "the action must be delete", target="action")
    check_typed(form, visit.id.rpartition("/")[2], "image")
    reason = form.get("reason", "").strip()[:MOST_REASON_LETTERS]
    await visit.api.ask("DELETE", visit.id, query={"reason": reason} if reason else {})
    return done(Done.DELETE_IMAGE, visit.id.rpartition("/")[2], f"{PREFIX}/images")


async def difference(visit: Visit) -> Response:
    """What differs from another image (`from`) to this one."""
    image_id = visit.id.removesuffix("/difference")
    other = visit.request.query_params.get("from", "")
    found = await visit.api.ask("GET", f"{image_id}/{DIFFERENCE}", query={"from": other})
    kinds = sorted({*found["added"], *found["removed"], *found["changed"]})
    return await page(
        "difference.html",
        title="Difference of two images",
        section="images",
        id=image_id,
        leaf="Difference",
        has_gallery=await _has_gallery(visit, image_id),
        other=other,
        difference=found,
        kinds=kinds,
        back=f"{PREFIX}{image_id}?{urlencode({'from': other})}",
    )


async def download(visit: Visit) -> Response:
    """An image's disk, whole or a part of it."""
    image_id = visit.id.removesuffix("/download")
    details = await visit.api.ask("GET", f"{image_id}/{DETAILS}")  # what is refused is refused as a page
    if not details["properties"]["isThere"]:
        raise ArmError(404, "FileNotFound", "The image's file is not on this host: `vmkiln image export` gets it.")
    name = f"{details['name']}.{details['properties']['format']}"
    return PassedOn(visit.api.api, f"{image_id}/{FILE}", visit.api.token, name=name)


async def document(visit: Visit) -> Response:
    """What is kept with an image beside its file: its signed provenance, bill of materials, or contents."""
    found, image_id = await visit.api.ask("GET", visit.id), visit.id.partition("/providers/Vmkiln")[0]
    title = visit.id.rpartition("/")[2].capitalize()
    return await page(
        "document.html", title=title, id=image_id, leaf=title,
        has_gallery=await _has_gallery(visit, image_id), section="images", value=found,
    )  # fmt: skip
