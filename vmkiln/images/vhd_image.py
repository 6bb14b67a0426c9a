"""VHD targets: a fixed VHD file in the storage account, or at the address the template names."""

import asyncio
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from vmkiln.host.disk_image import convert
from vmkiln.host.qemu import Disk
from vmkiln.images.image_store import Artifact, ImageFacts, seal, sha256_of, sync
from vmkiln.images.vhd import aligned, footer
from vmkiln.store.database import Store, utc_now
from vmkiln.store.rows import ImageRow

KIND = "VHD"


async def publish(
    file: Path, store: Store, facts: ImageFacts, *, artifact_id: str, tags: Mapping[str, str]
) -> Artifact:
    """Write the disk as a fixed VHD to `file`, whole or not at all.

    The virtual size is rounded up to whole MiB. An older VHD at the same place is replaced.
    """
    temporary = file.with_name(f".publishing-{file.name}-{facts.run_id[:8]}")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    created = utc_now()
    try:
        await convert(Disk(facts.flat, "qcow2"), temporary, target_format="raw")
        size = aligned(temporary.stat().st_size)
        with temporary.open("r+b") as target:
            target.truncate(size)
            target.seek(size)
            target.write(footer(size, identifier=uuid.uuid4(), created=created))
        await asyncio.to_thread(seal, temporary)
        digest = await asyncio.to_thread(sha256_of, temporary)
        os.replace(temporary, file)  # noqa: PTH105 (says that replacing is meant)
        sync(file.parent)
    finally:
        temporary.unlink(missing_ok=True)
    store.replace_image(
        ImageRow(
            artifact_id=artifact_id,
            kind=KIND,
            path=file,
            format="vhd",
            digest=digest,
            size_bytes=file.stat().st_size,
            virtual_size_bytes=size,
            generation=facts.generation,
            os_type=facts.os_type,
            source_version=facts.source_version,
            run_id=facts.run_id,
            tags=dict(tags),
            detail={},
            created=created,
        )
    )
    return Artifact("", file.as_uri(), file)
