"""The software bill of materials of an image, as CycloneDX 1.6 has it: the packages, read from outside.

The same image has the same bill, byte for byte.
Source: CycloneDX 1.6; the purl specification (`pkg:deb/debian/bash@5.2-1?arch=amd64`).
"""

import json
import uuid
from datetime import datetime
from typing import Any

from vmkiln.image_contents.contents import ImageContents
from vmkiln.image_contents.dpkg_status import Package

NAMESPACE = uuid.UUID("6f2f1f0a-6c55-5b8e-9d2b-3f2b7c1d9e10")  # of the serial numbers of bills; nothing else


def bill_of_materials(contents: ImageContents, *, name: str, digest: str, created: datetime) -> str:
    """The bill of an image whose file has this SHA-256; JSON."""
    from cyclonedx.model import HashAlgorithm, HashType, Property  # noqa: PLC0415 (large, and for who asks alone)
    from cyclonedx.model.bom import Bom, BomMetaData  # noqa: PLC0415
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
    from cyclonedx.output.json import JsonV1Dot6  # noqa: PLC0415

    image = Component(
        type=ComponentType.OPERATING_SYSTEM,
        name=name,
        version=contents.system.get("version"),
        bom_ref="image",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        properties=[Property(name="vmkiln:unproven", value=reason) for reason in contents.unproven],
    )
    bill = Bom(
        serial_number=uuid.uuid5(NAMESPACE, f"{name} {digest}"),
        metadata=BomMetaData(component=image, timestamp=created),
        components=[_component(package, contents) for package in contents.packages],
    )
    bill.register_dependency(image, bill.components)
    told: dict[str, Any] = json.loads(JsonV1Dot6(bill).output_as_string())
    return json.dumps(told, sort_keys=True, separators=(",", ":"))


def _component(package: Package, contents: ImageContents) -> Any:
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
    from packageurl import PackageURL  # noqa: PLC0415

    system = contents.system
    distribution = system.get("id") or ("debian" if contents.packaging == "deb" else None)
    qualifiers = {"arch": package.architecture, "distro": f"{distribution}-{system.get('version', '')}".rstrip("-")}
    version = package.version
    if contents.packaging == "rpm" and ":" in version:  # as the purl specification has it
        qualifiers["epoch"], _, version = version.partition(":")
    if package.source:
        qualifiers["upstream"] = package.source
    address = PackageURL(contents.packaging, distribution, package.name, version, qualifiers)
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=address,
        bom_ref=f"{package.key}@{package.version}",
    )
