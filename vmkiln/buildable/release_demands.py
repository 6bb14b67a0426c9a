"""What in a template the operator's release policy refuses, told before anything is started; pure."""

from collections.abc import Iterator, Mapping

from vmkiln.errors import Mistake
from vmkiln.inspecting.residue import TAG, allowed_of, tag_of, unknown_words
from vmkiln.setting_texts.release_policy import Demand
from vmkiln.settings import Settings
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.source import OsType

BOOT_TAG = "vmkiln-boot-gate"
BOOT_LEFT_OUT = "off"
SETTING = "the release policy (setting `release_policy`)"


def leaves_out_boot(tags: Mapping[str, str]) -> bool:
    """Whether a template's tags say that its result is not booted."""
    return tag_of(tags, BOOT_TAG).strip().lower() == BOOT_LEFT_OUT


def leaves_out_look(tags: Mapping[str, str]) -> bool:
    """Whether a template's tags say that nobody looks into its image; not for a list that is refused anyway."""
    text = tag_of(tags)
    return not unknown_words(text) and allowed_of(text).everything


def release_mistakes(template: ImageTemplate, settings: Settings, os_type: OsType | None) -> Iterator[Mistake]:
    """Why the image of a template could not be published here; the rest is seen of the image (`release_gate.py`).

    `os_type` is that of the source, as far as it is known.
    """
    if Demand.HYGIENE in settings.demands and tag_of(template.tags).strip():
        message = f"lets something stay in the image, and {SETTING} demands a clean one (`hygiene`)"
        yield Mistake(f"tags.{TAG}", message, "leave the tag out")
    if Demand.PROVENANCE in settings.demands and leaves_out_look(template.tags):
        message = f"says that nobody looks into the image, and {SETTING} wants its packages known (`provenance`)"
        yield Mistake(f"tags.{TAG}", message, "name what may stay in the image, instead of `all`")
    if Demand.HYGIENE in settings.demands and os_type is OsType.WINDOWS:
        message = f"what was deleted in a Windows image is not looked for, and {SETTING} demands it (`hygiene`)"
        yield Mistake("properties.source", message)
    if Demand.BOOT in settings.demands and not template.properties.validation.in_vm_validations:
        if leaves_out_boot(template.tags):
            message = f"leaves the boot out, and {SETTING} demands it (`boot`)"
            yield Mistake(f"tags.{BOOT_TAG}", message, "leave the tag out, or give the template a validation")
        elif not settings.boot_gate:
            message = f"nothing boots the result (setting `boot_gate`), and {SETTING} demands it (`boot`)"
            yield Mistake("properties.validate", message, "give the template a validation")
