"""The tags of a template that say what its builds begin from, and behind which steps nothing is kept; pure.

One that nobody understands is a mistake: passed over, it would have what its author did not want.
"""

from collections.abc import Iterator, Mapping

from vmkiln.errors import Mistake
from vmkiln.inspecting.residue import tag_of
from vmkiln.template.image_template import ImageTemplate

COLD_TAG, KEPT_TAG, NEVER_TAG = "vmkiln-cold", "vmkiln-checkpoints", "vmkiln-never-kept"
WORDS = ("true", "false")


def never_kept(tags: Mapping[str, str]) -> frozenset[str]:
    """The names of the steps that the author marked, in small letters."""
    texts = [value for name, value in tags.items() if name.lower() == NEVER_TAG]
    return frozenset(word.strip().lower() for text in texts for word in text.split(",") if word.strip())


def start_tag_mistakes(template: ImageTemplate) -> Iterator[Mistake]:
    """A tag that is neither true nor false, and each name of a step that is no customizer's."""
    for name in (COLD_TAG, KEPT_TAG):
        text = tag_of(template.tags, name).strip().lower()
        if text and text not in WORDS:
            yield Mistake(f"tags.{name}", f"`{text[:80]}` is neither `true` nor `false`")
    marked = never_kept(template.tags)
    customize = template.properties.customize if marked else ()
    names = {(step.name or f"{step.type} {number}").lower() for number, step in enumerate(customize, start=1)}
    for name in sorted(marked - names):
        yield Mistake(
            f"tags.{NEVER_TAG}",
            f"no customizer is named `{name[:80]}`",
            "names of customizers, with commas; one without a name is called by kind and number, such as `Shell 1`",
        )
