"""Which egress policy a build has: what the operator's setting, the command and the template's tags all allow; pure.

Source of the tags' limits (256 letters each): docs/reference/image-template.md#template.
"""

import re
from collections.abc import Iterator, Mapping

from vmkiln.errors import InputError, Mistake
from vmkiln.host.egress.egress_policy import EgressMode, EgressPolicy, strictest
from vmkiln.host.egress.policy_text import SYNTAX, checked_policy, read_policy

TAG = "vmkiln-egress"
_TAG = re.compile(rf"{TAG}(-[0-9]+)?", re.IGNORECASE)


def operator_policy(setting: str) -> EgressPolicy:
    """What the setting `egress` says. Raises: `InputError` with every mistake."""
    return checked_policy([setting], where="VMKILN_EGRESS")


def tag_mistakes(tags: Mapping[str, str]) -> Iterator[Mistake]:
    """Every mistake in a template's own policy, with the tag that it is in."""
    texts = _texts(tags)
    if len(texts) > 1 and any(text.strip().lower() in set(EgressMode) for text in texts.values()):
        yield Mistake(
            f"tags.{min(texts)}", "`open` or `none` stands in one of several tags of the egress policy", SYNTAX
        )
    for name, text in texts.items():
        for mistake in read_policy(text)[1]:
            yield Mistake(f"tags.{name}", mistake, SYNTAX)


def decided_egress(setting: str, asked: EgressPolicy, tags: Mapping[str, str]) -> EgressPolicy:
    """The policy of a build: the strictest of the three. Raises: `InputError` with every mistake."""
    if mistakes := list(tag_mistakes(tags)):
        raise InputError("; ".join(str(mistake) for mistake in mistakes), hint=SYNTAX)
    tagged = read_policy("\n".join(_texts(tags).values()))[0]
    return strictest([operator_policy(setting), asked, tagged])


def check_allowances(policy: EgressPolicy, allowances: object) -> None:
    """Refuse to open a network to a build that may reach nothing. Raises: `InputError`."""
    if allowances and policy.mode is EgressMode.NONE:
        raise InputError(
            "--allow-egress opens a network, and the egress policy of this build is `none`",
            hint="leave --allow-egress out, or name what the build needs by --egress",
        )


def check_guest_proxy(policy: EgressPolicy, proxy: str) -> None:
    """Refuse a closed policy beside a proxy for guests, which reaches whatever it is asked for. Raises: `InputError`.

    `proxy` is the setting `guest_proxy`; '' for none.
    """
    if proxy and policy.mode is not EgressMode.OPEN:
        raise InputError(
            "guest_proxy reaches whatever it is asked for, so it does not go with a closed egress policy",
            hint="leave one of them out, or have the proxy hold the list",
        )


def _texts(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that hold the policy: `vmkiln-egress`, and `vmkiln-egress-2` and so on for a long list."""
    return {name: tags[name] for name in sorted(tags) if _TAG.fullmatch(name)}
