"""`vmkiln image sbom` and `diff`: what is in an image, and what differs between two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from vmkiln.cli.commands.images.kept_image import ImageArgument, find_image
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say
from vmkiln.cli.template_options import AlwaysJsonOption, JsonOption
from vmkiln.errors import ImageNotFound
from vmkiln.harmless_text import harmless

if TYPE_CHECKING:
    from vmkiln.store.database import Store


@examples("vmkiln image sbom web")
def sbom(image: ImageArgument, _as_json: AlwaysJsonOption = False) -> None:
    """Print the software bill of materials of an image: its packages, as CycloneDX has it (JSON)."""
    from vmkiln.preparation import opened_store
    from vmkiln.provenance.documents import SBOM

    with opened_store(read_settings(), say) as store:
        typer.echo(_document(store, image, SBOM))


@examples("vmkiln image diff galleries/g/images/web/versions/1.0.0 galleries/g/images/web/versions/1.0.1")
def diff(first: ImageArgument, second: ImageArgument, as_json: JsonOption = False) -> None:
    """Print what differs between two images: packages, users, units, disks."""
    from vmkiln.image_contents.contents import read_contents
    from vmkiln.image_contents.difference import difference
    from vmkiln.preparation import opened_store
    from vmkiln.provenance.documents import CONTENTS

    with opened_store(read_settings(), say) as store:
        before, after = (read_contents(_document(store, image, CONTENTS)) for image in (first, second))
    found = difference(before, after)
    if as_json:
        answer(found.as_data)
        return
    for line in found.lines():
        typer.echo(harmless(line))
    say(found.sentence)


def _document(store: Store, text: str, name: str) -> str:
    """A document that is kept with an image. Raises: `ImageNotFound` when there is none."""
    row = find_image(store, text)
    found = store.images.documents_of(row.artifact_id).get(name)
    if found is None:
        raise ImageNotFound(
            f"it is not known what is in the image {row.artifact_id}",
            hint="a run looks into its image when it publishes it; this one was published without",
        )
    return found
