"""The release policy: what the operator demands of an image is looked up in what is known of its run, before the image
is published anywhere.

What a template says is refused earlier (`buildable/release_demands.py`); this is about what became of it. An attempt
that goes on from an earlier one's disk is judged by what that one did, too.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from vmkiln.image_contents.contents import ImageContents
from vmkiln.run.attesting.build_record import contents_of
from vmkiln.run.gates.hygiene_gate import Verdict
from vmkiln.run.run_context import Staged
from vmkiln.run_failures import ReleaseRefused
from vmkiln.setting_texts.release_policy import Demand


def check(staged: Staged) -> None:
    """Raises: `ReleaseRefused` with every demand of the operator that the image of this run does not meet."""
    demands = staged.host.settings.demands
    if not demands:
        return
    facts = staged.host.store.runs.find(staged.request.run_id).facts
    if unmet := list(unmet_demands(demands, facts, contents_of(staged))):
        raise ReleaseRefused(
            f"the release policy refuses the image: {'; '.join(unmet)}",
            hint="nothing was published; the setting release_policy says what is demanded (docs/customizing.md)",
        )


def unmet_demands(
    demands: frozenset[Demand], facts: Mapping[str, Any], contents: ImageContents | None
) -> Iterator[str]:
    """A sentence for each demand that is not met, by the facts of a run and what is in its image; pure."""
    hygiene = facts.get("hygiene") or {}
    if Demand.HYGIENE in demands and hygiene.get("verdict") != Verdict.CLEAN:
        yield f"hygiene: the verdict is `{hygiene.get('verdict', Verdict.SKIPPED)}`, not `{Verdict.CLEAN}`"
    if Demand.BOOT in demands and not facts.get("boot") and not (facts.get("finished") or {}).get("is_validated"):
        yield "boot: nobody has booted it"
    starts = {name.removesuffix("_went_on"): fact for name, fact in facts.items() if name.endswith("_went_on")}
    if Demand.COLD in demands and (any(starts.values()) or not starts):
        saved = ", ".join(sorted(name for name, went_on in starts.items() if went_on))
        yield f"cold: went on from a saved VM: {saved or 'that is not known'}"
    if Demand.COLD in demands and (checkpoint := facts.get("checkpoint")):
        yield f"cold: it began behind what run {str(checkpoint['run_id'])[:8]} left"
    if Demand.PROVENANCE in demands:
        if contents is None:
            yield "provenance: it is not known what is in it"
        elif not contents.packages:
            yield "provenance: its packages are not known"
