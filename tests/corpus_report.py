"""`script/corpus`: what becomes of each template of a folder, as a table; see docs/corpus.md."""

import argparse
import asyncio
import copy
import json
import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from corpus_build import Built, build
from corpus_values import DEBIAN, filled
from orphan_guard import ended_by_signals

from vmkiln.arm_template.values import member
from vmkiln.arm_template.yaml_text import json_of_yaml
from vmkiln.buildable.examination import Surroundings, examine
from vmkiln.cli.template_options import opened_if_there
from vmkiln.cli.template_text import decoded
from vmkiln.errors import VmkilnError
from vmkiln.run.plan import plan_of
from vmkiln.settings import Settings
from vmkiln.settings_sources import settings_in_force
from vmkiln.staging.local_files import LocalFiles
from vmkiln.staging.user_network import UserVirtualNetwork, virtual_networks_of
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.resource_id import parse_resource_id
from vmkiln.template.source import OsType
from vmkiln.template.template_file import ResolvedTemplate, read_image_template

KINDS = (".json", ".yaml", ".yml")
GROUP = "made-up"
SOURCE = "properties.source: "
BUT_FOR_SOURCE = "planned, but for a source that is not here"


@dataclass
class Outcome:
    """What became of one template; `made_up`: values had to be made up for it."""

    name: str
    state: str = ""
    why: str = ""
    os_type: str = ""
    made_up: bool = False
    planned: str = ""
    built: Built | None = field(default=None)


def outcome_of(
    path: Path, settings: Settings, alias: dict[str, Any], windows: dict[str, ImageTemplate] | None = None
) -> tuple[Outcome, dict[str, Any] | None]:
    """Read and plan one; with the body to build when it is one of Linux. Those of Windows go into `windows`."""
    found = Outcome(path.name)
    try:
        text = decoded(path.read_bytes(), path.name)
        if path.suffix.lower() != ".json":
            text = json_of_yaml(text, path.name)
        resolved, found.made_up = filled(text, path.name)
        found.state, found.os_type = "read", str(resolved.image_template.os_type or "any")
        if resolved.image_template.os_type is OsType.WINDOWS:
            if windows is not None:
                windows[path.name] = resolved.image_template
            problems = planned(dict(resolved.resolved), path, settings)
            found.planned = "; ".join(text for text in problems if not text.startswith(SOURCE)) or BUT_FOR_SOURCE
            return found, None
        body = aliased(resolved, alias)
        problems = planned(body, path, settings)
        found.planned = "; ".join(problems) or "planned"
        return found, None if problems else body
    except VmkilnError as error:
        found.state, found.why = ("refused", error.message) if not found.state else (found.state, error.message)
    except Exception:
        found.state, found.why = "crashed", traceback.format_exc()
    return found, None


def aliased(resolved: ResolvedTemplate, alias: dict[str, Any]) -> dict[str, Any]:
    """The body as it was read, with its source replaced, for the newest api-version that has all its members."""
    body: dict[str, Any] = copy.deepcopy(dict(resolved.resolved))
    properties = member(body, "properties")
    for name in [name for name in properties if name.lower() == "source"]:
        del properties[name]
    properties["source"] = alias
    return body


def planned(body: dict[str, Any], path: Path, settings: Settings) -> list[str]:
    """Why a template could not be built here; nothing when it could."""
    resolved = read_image_template(json.dumps(body), file_name=path.name)
    networks = made_up_networks(resolved)
    surroundings = Surroundings(
        settings=settings,
        local_files=LocalFiles(path.parent, is_allowed=True),
        opened_store=lambda: opened_if_there(settings),
        template_name=resolved.name,
        resource_group=GROUP,
        virtual_networks=networks,
    )
    verdict = examine(resolved.image_template, surroundings)
    plan = asyncio.run(
        plan_of(
            resolved,
            resource_group=GROUP,
            verdict=verdict,
            settings=settings,
            allowances=(),
            virtual_networks=networks,
        )
    )
    return [str(problem) for problem in plan["cannot_be_built_because"]]


def made_up_networks(resolved: ResolvedTemplate) -> dict[str, UserVirtualNetwork]:
    """The virtual networks that a template's subnets lie in, as `az network vnet show` would print them."""
    return virtual_networks_of(network_bodies(resolved))


def network_bodies(resolved: ResolvedTemplate) -> list[dict[str, Any]]:
    """One body for each virtual network that the template names."""
    config = resolved.image_template.properties.vm_profile.vnet_config
    subnets = [text for text in (config.subnet_id, config.container_instance_subnet_id) if text]
    found: dict[str, dict[str, Any]] = {}
    for index, text in enumerate(subnets):
        parent = str(parse_resource_id(text).parent)
        network = found.setdefault(
            parent.lower(),
            {
                "id": parent,
                "name": parent.rpartition("/")[2],
                "type": "Microsoft.Network/virtualNetworks",
                "location": resolved.image_template.location,
                "properties": {"addressSpace": {"addressPrefixes": ["10.77.0.0/16"]}, "subnets": []},
            },
        )
        prefix = {"addressPrefix": f"10.77.{index}.0/24", "privateLinkServiceNetworkPolicies": "Disabled"}
        prefix |= {"delegations": [_DELEGATION]} if index else {}
        network["properties"]["subnets"].append({"id": text, "name": text.rpartition("/")[2], "properties": prefix})
    return list(found.values())


_DELEGATION = {"name": "aci", "properties": {"serviceName": "Microsoft.ContainerInstance/containerGroups"}}


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """The counts, in the order in which a template gets on."""
    states = Counter(item.state for item in outcomes)
    linux = [item for item in outcomes if item.state == "read" and item.os_type != "Windows"]
    lines = [
        f"{'templates':<44}{len(outcomes):>6}",
        f"{'read':<44}{states['read']:>6}",
        f"{'  of them with made-up values':<44}{sum(item.made_up for item in outcomes if item.state == 'read'):>6}",
        f"{'refused':<44}{states['refused']:>6}",
        f"{'crashed':<44}{states['crashed']:>6}",
        f"{'read, of Windows':<44}{states['read'] - len(linux):>6}",
        f"{'read, of Linux':<44}{len(linux):>6}",
        f"{'  planned without a problem (source aliased)':<44}{sum(item.planned == 'planned' for item in linux):>6}",
    ]
    windows = [item for item in outcomes if item.state == "read" and item.os_type == "Windows"]
    lines.insert(6, f"{'  planned but for their source':<44}{sum(i.planned == BUT_FOR_SOURCE for i in windows):>6}")
    doubles = [item.built for item in outcomes if item.os_type == "Windows" and item.built is not None]
    if doubles:
        lines.append(f"{'  of Windows, ran to their end in the double':<44}{sum(d.end == 'ran' for d in doubles):>6}")
        lines.append(f"{'  of these with stand-ins for scripts':<44}{sum(bool(d.stand_ins) for d in doubles):>6}")
    builds = [item.built for item in linux if item.built is not None]
    if builds:
        ends = Counter(item.end for item in builds)
        lines += [f"{'  ' + end:<44}{ends[end]:>6}" for end in ("built", "user", "ours", "not finished")]
        lines.append(f"{'  with stand-ins in place of scripts':<44}{sum(bool(item.stand_ins) for item in builds):>6}")
    lines.append("")
    for item in outcomes:
        if item.state != "read" or item.why or item.planned not in {"planned", BUT_FOR_SOURCE}:
            lines.append(f"{item.name}: {item.state}: {item.why or item.planned}")
        is_of_interest = item.os_type != "Windows" or (item.built is not None and item.built.end != "ran")
        if is_of_interest and item.built is not None and (item.built.end != "built" or item.built.stand_ins):
            stand_ins = f" ({len(item.built.stand_ins)} stand-ins)" if item.built.stand_ins else ""
            lines.append(f"{item.name}: {item.built.end}{stand_ins}: {item.built.why}")
    return lines


def main() -> int:
    """Print what became of each; exit code 1 when something crashed or a build ended in our own part."""
    parser = argparse.ArgumentParser(prog="script/corpus")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--source-alias", default=":".join(str(DEBIAN[name]) for name in ("publisher", "offer", "sku")))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--limit", type=int, default=0, help="builds at most; 0 for all")
    parser.add_argument("--minutes", type=int, default=60, help="for one build")
    asked = parser.parse_args()
    words = asked.source_alias.split(":")
    if len(words) != 3 or not all(words):
        parser.error("--source-alias is PUBLISHER:OFFER:SKU")
    if asked.build and os.getuid() == 0:
        parser.error("--build needs an ordinary user: builds never run as root")
    alias = {**DEBIAN, **dict(zip(("publisher", "offer", "sku"), words, strict=True))}
    settings = settings_in_force(os.environ, {}).settings
    outcomes: list[Outcome] = []
    windows: dict[str, ImageTemplate] = {}
    with tempfile.TemporaryDirectory(prefix="corpus-") as work:
        for path in sorted(path for path in asked.folder.iterdir() if path.suffix.lower() in KINDS):
            if asked.only and path.name not in asked.only and path.stem not in asked.only:
                continue
            found, body = outcome_of(path, settings, alias, windows)
            is_due = not asked.limit or sum(item.built is not None for item in outcomes) < asked.limit
            if asked.build and body is not None and is_due:
                networks = network_bodies(read_image_template(json.dumps(body), file_name=path.name))
                found.built = build(body, networks, Path(work) / path.stem, minutes=asked.minutes)
                sys.stderr.write(f"{path.name}: {found.built.end}: {found.built.why}\n")
            outcomes.append(found)
        if asked.double:
            from corpus_double import carried_out

            ends = carried_out(windows, Path(work))
            for item in outcomes:
                item.built = ends.get(item.name, item.built)
    told = json.dumps([asdict(item) for item in outcomes]) if asked.json else "\n".join(table(outcomes))
    sys.stdout.write(told + "\n")
    is_bad = any(item.state == "crashed" or (item.built and item.built.end in ("ours", "failed")) for item in outcomes)
    return 1 if is_bad or not outcomes else 0


if __name__ == "__main__":
    ended_by_signals()
    sys.exit(main())
