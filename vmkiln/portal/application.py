"""The portal in front of the API: pages below /portal, everything else goes through untouched.

A page's address is /portal and the ARM id of what it shows, so an id from a message or from az can be pasted.
"""

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from vmkiln.azure_names import ALL_RUNS, CONTAINER_GROUP, LOCAL_GROUPS, VIRTUAL_MACHINE
from vmkiln.errors import ArmError
from vmkiln.portal import login_pages, provider_login, scheme_form
from vmkiln.portal.overview import activity_pages, control_room, host_pages, image_pages, runs_page
from vmkiln.portal.rendering import HEADERS
from vmkiln.portal.resources import machine_stream, resource_pages
from vmkiln.portal.runs import run_pages, run_stream
from vmkiln.portal.templates import guided_template, new_template, plan_view, template_files, template_page
from vmkiln.portal.visit import LOGIN, PREFIX, Page, Visit, error_page, go_to, visited

STATIC = Path(__file__).parent / "static"
SUBSCRIPTION = f"{PREFIX}/subscriptions/{{subscription}}"
GROUP = f"{SUBSCRIPTION}/resourceGroups/{{group}}"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/{{name}}"
IMAGE = f"{GROUP}/providers/Microsoft.Compute/images/{{name}}"
VERSION = f"{GROUP}/providers/Microsoft.Compute/galleries/{{gallery}}/images/{{name}}/versions/{{version}}"
MACHINES = (CONTAINER_GROUP, VIRTUAL_MACHINE)
RUN = f"{TEMPLATE}/providers/Vmkiln.Builds/runs/{{run}}"
ANY_RUN = f"{PREFIX}{ALL_RUNS}/{{run}}"
LOCAL_GROUP = f"{PREFIX}{LOCAL_GROUPS}/{{group}}"


class _Static(StaticFiles):
    def file_response(self, *arguments: object, **options: object) -> Response:
        response = super().file_response(*arguments, **options)  # type: ignore[arg-type]
        response.headers.update(HEADERS | {"Cache-Control": "max-age=3600"})
        return response


async def _not_found(visit: Visit) -> Response:
    error = ArmError(404, "NotFound", f"There is no page for '{visit.id[:200] or '/'}'.")
    return await error_page(error, is_inside=bool(visit.api.token))


def portal(api: ASGIApp) -> ASGIApp:
    """The pages, reading and changing things through `api`."""

    def at(path: str, show: Page, method: str = "GET", *, is_public: bool = False) -> Route:
        return Route(path, visited(api, show, is_public=is_public), methods=[method])

    return Starlette(
        routes=[
            at(f"{PREFIX}/", control_room.home),
            at(f"{PREFIX}/login", login_pages.login_form, is_public=True),
            at(f"{PREFIX}/login", login_pages.login, "POST", is_public=True),
            at(f"{LOGIN}/provider", provider_login.leave, is_public=True),
            at(f"{LOGIN}/back", provider_login.come_back, is_public=True),
            at(f"{PREFIX}/logout", login_pages.logout, "POST", is_public=True),
            at(f"{PREFIX}/scheme", scheme_form.choose, "POST", is_public=True),
            at(f"{PREFIX}/new", new_template.new),
            at(f"{PREFIX}/new", new_template.create, "POST"),
            at(f"{PREFIX}/new/guided", guided_template.guided),
            at(f"{PREFIX}/new/guided", guided_template.act, "POST"),
            at(f"{PREFIX}/groups", resource_pages.resource_groups),
            Mount(f"{PREFIX}/static", _Static(directory=STATIC)),
            at(f"{PREFIX}/runs", runs_page.runs),
            at(f"{PREFIX}/queue", runs_page.queue),
            at(f"{PREFIX}/images", image_pages.images),
            at(f"{PREFIX}/hosts", host_pages.hosts),
            at(f"{PREFIX}/hosts", host_pages.act, "POST"),
            at(f"{PREFIX}/metrics", host_pages.metrics),
            at(f"{PREFIX}/activity", activity_pages.activity),
            at(f"{PREFIX}/access", activity_pages.access),
            *(
                at(f"{path}{below}", show, method)
                for path in (IMAGE, VERSION)
                for below, show, method in (
                    ("", image_pages.image, "GET"),
                    ("", image_pages.act, "POST"),
                    ("/difference", image_pages.difference, "GET"),
                    ("/download", image_pages.download, "GET"),
                    ("/providers/Vmkiln.Builds/documents/{document}", image_pages.document, "GET"),
                )
            ),
            at(GROUP, resource_pages.resource_group),
            at(GROUP, resource_pages.act_on_group, "POST"),
            at(TEMPLATE, template_page.template),
            at(TEMPLATE, template_page.act, "POST"),
            at(f"{TEMPLATE}/plan", plan_view.plan),
            at(f"{TEMPLATE}/arm", template_files.arm),
            at(f"{TEMPLATE}/bicep", template_files.bicep),
            at(RUN, run_pages.run),
            at(RUN, run_pages.act, "POST"),
            at(ANY_RUN, run_pages.any_run),
            *(
                at(f"{run}{below}", show)
                for run in (RUN, ANY_RUN)
                for below, show in (
                    ("/log", run_pages.raw_log),
                    ("/lines", run_pages.some_lines),
                    ("/find", run_pages.find),
                    ("/pictures/{picture}", run_pages.picture),
                    ("/follow", run_stream.follow),
                )
            ),
            at(LOCAL_GROUP, resource_pages.resource_group),
            *(
                at(f"{group}/providers/{kind}/{{name}}/follow", machine_stream.follow)
                for group in (GROUP, LOCAL_GROUP)
                for kind in MACHINES
            ),
            *(at(f"{group}/providers/{{rest:path}}", resource_pages.resource) for group in (GROUP, LOCAL_GROUP)),
            at(f"{PREFIX}{{rest:path}}", _not_found, is_public=True),
        ]
    )


def _accepted(scope: Scope) -> str:
    return Request(scope).headers.get("accept", "") if scope["type"] == "http" else ""


def with_portal(api: ASGIApp) -> ASGIApp:
    """The API with the portal in front; a browser that asks for / is sent to the portal."""
    pages = portal(api)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        is_page = scope["type"] == "http" and (path == PREFIX or path.startswith(f"{PREFIX}/"))
        wants_page = path == PREFIX or (path == "/" and "text/html" in _accepted(scope))
        if scope["type"] == "http" and scope["method"] == "GET" and path == "/favicon.ico":
            await go_to(f"{PREFIX}/static/favicon.svg")(scope, receive, send)
            return
        if scope["type"] == "http" and scope["method"] == "GET" and wants_page:
            await go_to(f"{PREFIX}/")(scope, receive, send)
            return
        await (pages if is_page else api)(scope, receive, send)

    return answer
