"""What `validate`, `plan` and `build` share: the template argument, its parameters, where it is read from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.azure_names import plain_location
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.output import say
from vmkiln.errors import InputError, TemplateInvalid

if TYPE_CHECKING:
    from vmkiln.arm_template.parameters.deployment_parameters import ParameterFile
    from vmkiln.buildable.examination import Surroundings
    from vmkiln.cli.written.written_template import WrittenTemplate
    from vmkiln.host.egress.egress_policy import EgressPolicy
    from vmkiln.host.network.network_namespace import Allowance
    from vmkiln.settings import Settings
    from vmkiln.staging.local_files import LocalFiles
    from vmkiln.staging.user_network import UserVirtualNetwork
    from vmkiln.store.database import Store
    from vmkiln.template.source import PlatformImageSource
    from vmkiln.template.template_file import ResolvedTemplate

TEMPLATE_HELP = (
    "An image template's body, or an ARM deployment template with one: JSON, YAML or Bicep; `-` reads stdin."
)
TemplateArgument = Annotated[Path, typer.Argument(help=TEMPLATE_HELP)]
TemplateFileArgument = Annotated[Path | None, typer.Argument(metavar="TEMPLATE", help=TEMPLATE_HELP)]
ParametersOption = Annotated[
    list[str] | None,
    typer.Option("--parameters", "-p", metavar="FILE|NAME=VALUE", help="Parameters; may be given more than once."),
]
ResourceGroupOption = Annotated[
    str, typer.Option("--resource-group", "-g", help="The resource group that resourceGroup() stands for.")
]
SubscriptionOption = Annotated[
    str, typer.Option("--subscription", help="The subscription id that subscription() stands for.")
]
LocationOption = Annotated[
    str,
    typer.Option("--location", "-l", help="The location of that resource group, such as westus2."),
]
TemplateNameOption = Annotated[
    str, typer.Option("--template-name", help="Which image template is meant, where the file has several.")
]
ReferenceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reference",
        metavar="FILE|ID=JSON",
        help="What reference() tells of a resource that is not in the file; may be given more than once.",
    ),
]
LocalFilesOption = Annotated[
    bool, typer.Option("--allow-local-files", help="Let the template read files beside it (file: and relative paths).")
]
ColdOption = Annotated[bool, typer.Option("--cold", help="Boot every VM; none goes on from one that was saved.")]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Begin at the first customizer, whatever is kept of earlier builds.")
]
MaxAgeOption = Annotated[
    float,
    typer.Option("--max-age", metavar="HOURS", min=0, help="How old what is kept may be that the build begins behind."),
]
AllowEgressOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-egress",
        metavar="NETWORK[:PORT]",
        help="Let the build VM reach this private network (CIDR) over TCP; may be given more than once.",
    ),
]
EgressOption = Annotated[
    list[str] | None,
    typer.Option(
        "--egress",
        metavar="open|none|NAMES|FILE",
        help="What the build VM may reach: `open`, `none`, or names such as `@debian,packages.example.org:443`, or a "
        "file of them (a path with a slash); may be given more than once. The strictest of this, the setting and the "
        "template's tag `vmkiln-egress` counts.",
    ),
]
VirtualNetworksOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--virtual-networks",
        metavar="FILE",
        help="JSON of the virtual networks and network security groups that the template's vnetConfig needs, as "
        "`az network vnet show` and `az network nsg show` print them; may be given more than once.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
AlwaysJsonOption = Annotated[bool, typer.Option("--json", help="Print errors as JSON, too; the answer always is.")]
NO_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class GivenTemplate:
    """A template as `validate`, `plan` and `build` were given it, with all that a build of it would find here."""

    resolved: ResolvedTemplate
    written: WrittenTemplate
    local_files: LocalFiles
    virtual_networks: Mapping[str, UserVirtualNetwork]
    surroundings: Surroundings


def read_given(
    template: Path,
    parameters: Sequence[str] | None,
    *,
    resource_group: str,
    subscription: str,
    location: str,
    template_name: str,
    references: Sequence[str] | None,
    allow_local_files: bool,
    virtual_networks: Sequence[Path] | None,
) -> GivenTemplate:
    """The template that these options name, and its surroundings.

    Raises: `InputError` for a file that cannot be read or settings that are wrong, `TemplateInvalid` for mistakes.
    """
    resolved, written = _read_written(
        template,
        parameters,
        resource_group=resource_group,
        subscription=subscription,
        location=location,
        template_name=template_name,
        references=references,
    )
    from vmkiln.cli.written.written_networks import read_virtual_networks

    networks = read_virtual_networks(virtual_networks)
    files = _local_files(template, is_allowed=allow_local_files)
    surroundings = _surroundings_of(
        resolved, resource_group=resource_group, local_files=files, virtual_networks=networks
    )
    return GivenTemplate(resolved, written, files, networks, surroundings)


def read_template(
    template: Path,
    parameters: Sequence[str] | None,
    *,
    resource_group: str,
    subscription: str,
    location: str = "",
    template_name: str = "",
    references: Sequence[str] | None = None,
) -> ResolvedTemplate:
    """The resolved template. Raises: `InputError` for a file that cannot be read, `TemplateInvalid` for mistakes."""
    return _read_written(
        template,
        parameters,
        resource_group=resource_group,
        subscription=subscription,
        location=location,
        template_name=template_name,
        references=references,
    )[0]


def _read_written(
    template: Path,
    parameters: Sequence[str] | None,
    *,
    resource_group: str,
    subscription: str,
    location: str,
    template_name: str,
    references: Sequence[str] | None,
) -> tuple[ResolvedTemplate, WrittenTemplate]:
    """The same, with its text, in which every mistake has its line."""
    from vmkiln.arm_template.deployment_context import DeploymentContext
    from vmkiln.cli.written.written_template import placed_error
    from vmkiln.template.template_file import read_image_template

    written, compiled_parameters = template_texts(template)
    written = replace(written, template_name=template_name)
    context = DeploymentContext(resource_group=resource_group, subscription_id=subscription)
    if location:
        context = replace(context, location=plain_location(location))
    try:
        resolved = read_image_template(
            written.json,
            file_name=written.file_name,
            parameters=[*compiled_parameters, *_files_or_texts(parameters)],
            context=context,
            template_name=template_name,
            references=_files_or_texts(references),
        )
    except TemplateInvalid as error:
        raise placed_error(error, written) from None
    return resolved, written


def _files_or_texts(given: Sequence[str] | None) -> list[ParameterFile | str]:
    """Each a file that is read (`FILE` or `@FILE`), or `NAME=VALUE` as it is. Raises: `InputError`."""
    from vmkiln.arm_template.parameters.deployment_parameters import ParameterFile

    found: list[ParameterFile | str] = []
    for item in given or ():
        path = Path(item.removeprefix("@"))
        if "=" in item and not is_file(path):
            found.append(item)
        else:
            found.append(ParameterFile(str(path), _parameters_text(path)))
    return found


def template_texts(template: Path) -> tuple[WrittenTemplate, list[ParameterFile | str]]:
    """The text of a template file, and the parameters that a .bicepparam file brings. Raises: `InputError`."""
    from vmkiln.arm_template.parameters.deployment_parameters import ParameterFile
    from vmkiln.cli.template_text import kind_of, read_text
    from vmkiln.cli.written.written_template import WrittenTemplate

    text = read_text(template)
    kind = kind_of(template, text)
    name = "template" if str(template) == "-" else template.name
    if kind == "yaml":
        from vmkiln.arm_template.yaml_text import json_of_yaml

        return WrittenTemplate(name, kind, text, json_of_yaml(text, template.name)), []
    if kind in ("bicep", "bicepparam"):
        if str(template) == "-":
            raise InputError(
                "Bicep is not read from standard input", hint="name the file, whose folder has its modules"
            )
        from vmkiln.cli.bicep import template_and_parameters

        compiled, parameters = template_and_parameters(template, kind)
        told: list[ParameterFile | str] = [ParameterFile(template.name, parameters)] if parameters else []
        return WrittenTemplate(name, kind, text, compiled), told
    return WrittenTemplate(name, kind, text, text), []


def _parameters_text(path: Path) -> str:
    """A parameter file as JSON: it may be YAML, or Bicep's. Raises: `InputError`."""
    from vmkiln.cli.template_text import kind_of, read_text

    text = read_text(path)
    kind = kind_of(path, text)
    if kind == "bicepparam":
        from vmkiln.cli.bicep import template_and_parameters

        return template_and_parameters(path, kind)[1]
    if kind == "yaml":
        from vmkiln.arm_template.yaml_text import json_of_yaml

        return json_of_yaml(text, path.name)
    return text


def is_file(path: Path) -> bool:
    """Whether there is such a file; what is too long for a name is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _local_files(template: Path, *, is_allowed: bool) -> LocalFiles:
    """Which folder local scripts may come from: the template's own."""
    from vmkiln.staging.local_files import LocalFiles

    directory = Path.cwd() if str(template) == "-" else template.resolve().parent
    return LocalFiles(directory, is_allowed)


@contextlib.contextmanager
def opened_if_there(settings: Settings) -> Iterator[Store | None]:
    """The database for a look; None when there is none yet, and none is made."""
    if not settings.database_url and not settings.database.is_file():
        yield None
        return
    from vmkiln.store import database

    with database.opened(settings.database_address, home=settings.home) as store:
        yield store


def _surroundings_of(
    resolved: ResolvedTemplate,
    *,
    resource_group: str,
    local_files: LocalFiles,
    virtual_networks: Mapping[str, UserVirtualNetwork],
) -> Surroundings:
    """What a build of this template would find here. Raises: `InputError` for settings that are wrong."""
    from vmkiln.buildable.examination import Surroundings

    settings = read_settings()
    return Surroundings(
        settings=settings,
        local_files=local_files,
        opened_store=lambda: opened_if_there(settings),
        template_name=resolved.name,
        resource_group=resource_group,
        virtual_networks=virtual_networks,
        ask_publisher=lambda source: _ask_publisher(source, settings),
        ask_emulated=lambda: _emulated(settings),
    )


def _emulated(settings: Settings) -> str:
    from vmkiln.host.accelerator import known_obstacle

    return known_obstacle(settings.container_image)


def _ask_publisher(source: PlatformImageSource, settings: Settings) -> None:
    from vmkiln.cli.interrupts import run_to_end
    from vmkiln.fetching.way_out import way_out_of
    from vmkiln.platform_images.image_reference import reference_of
    from vmkiln.platform_images.platform_image import check_published

    run_to_end(
        check_published(
            reference_of(source),
            cache_directory=settings.image_cache,
            user_catalogue=settings.catalogue,
            progress=say,
            way_out=way_out_of(settings),
        )
    )


def read_allowances(texts: Sequence[str] | None) -> tuple[Allowance, ...]:
    """`10.1.2.0/24:443` and the like. Raises: `InputError` naming every one that is wrong."""
    from ipaddress import IPv4Network

    from vmkiln.host.network.network_namespace import Allowance

    found: list[Allowance] = []
    mistakes: list[str] = []
    for text in texts or ():
        network, _, port = text.partition(":")
        try:
            number = int(port) if port else 0
            if not 0 <= number <= 65535:
                raise ValueError(f"{number} is not a port")
            found.append(Allowance(IPv4Network(network), number))
        except ValueError as error:
            mistakes.append(f"`{text}`: {error}")
    if mistakes:
        raise InputError(
            f"--allow-egress: {'; '.join(mistakes)}", hint="write a network and perhaps a port: 10.1.2.0/24:443"
        )
    return tuple(found)


def read_egress(texts: Sequence[str] | None) -> EgressPolicy:
    """The egress policy that the command asks for; `open` when it asks for nothing.

    Raises: `InputError` for a file that cannot be read, and with every mistake.
    """
    from vmkiln.cli.template_text import read_text
    from vmkiln.host.egress.policy_text import checked_policy

    return checked_policy((read_text(Path(text)) if "/" in text else text for text in texts or ()), where="--egress")


def egress_of(given: GivenTemplate, asked: EgressPolicy, allowances: Sequence[Allowance] = ()) -> EgressPolicy:
    """What a build of this template may reach here; wrong tags, which are among what keeps it from being built, aside.

    Raises: `InputError` for what does not go together.
    """
    from vmkiln.buildable.egress_choice import check_allowances, check_guest_proxy, decided_egress, tag_mistakes

    settings, tags = read_settings(), given.resolved.image_template.tags
    policy = decided_egress(settings.egress, asked, {} if any(tag_mistakes(tags)) else tags)
    check_guest_proxy(policy, settings.guest_proxy)
    check_allowances(policy, allowances)
    return policy
