"""Every guard of a run's network, listed from what vmkiln really writes, and each taken away on request.

A guard is a rule with a verdict, a policy that drops, an element of the forbidden set, a kernel setting, or an option
that denies pasta something.
"""

import itertools
import re
from collections.abc import Iterable
from ipaddress import IPv4Interface

from vmkiln.host.network.network_namespace import Egress, firewall, pasta_arguments, sysctl_values
from vmkiln.staging.virtual_network import decide

VERDICT = re.compile(r"\b(accept|drop|reject|masquerade|jump|dnat|snat|redirect|return)\b")
ELEMENTS = re.compile(r"elements = \{ (.*) \}")


def rules(text: str) -> dict[str, str]:
    """The rules with a verdict: comment (or the rule itself, with its chain, where it has none) to line."""
    found, chain = {}, ""
    for line in text.splitlines():
        rule = line.strip()
        if rule.startswith("chain "):
            chain = rule.split()[1]
        elif chain and VERDICT.search(rule) and not rule.startswith("type "):
            comment = re.search(r'comment "(.*)"', rule)
            found[comment.group(1) if comment else f"{chain}: {rule}"] = line
    return found


def without(text: str, guards: Iterable[str]) -> str:
    """The firewall with guards taken away. Raises: KeyError for one it does not have."""
    known = rules(text)
    for guard in guards:
        kind, _, rest = guard.partition(" ")
        if kind == "policy":
            text, count = re.subn(rf"(hook {rest} priority 0; policy) drop", r"\1 accept", text)
        elif kind == "forbidden":
            text, count = re.subn(rf"(?<=[ ]){re.escape(rest)}(, | (?=\}}))", "", text)
        else:
            count = text.count(known[guard] + "\n")
            text = text.replace(known[guard] + "\n", "")
        if count != 1:
            raise KeyError(guard)
    return text


def guards_of_firewall(text: str) -> set[str]:
    """Names of all guards in a firewall's text."""
    policies = {f"policy {hook}" for hook in re.findall(r"hook (\w+) priority \S+ policy drop", text)}
    elements = ELEMENTS.search(text)
    assert elements is not None
    return {*rules(text), *policies, *(f"forbidden {item}" for item in elements.group(1).split(", "))}


SAYS_WHERE = {"--netns-only", "--no-netns-quit"}  # which namespaces it is in, and that it is we who end it


def guards_of_sysctls() -> set[str]:
    """Names of all kernel settings."""
    return {f"sysctl {key}" for key in sysctl_values()}


def guards_of_pasta(egress: Egress) -> set[str]:
    """Options that deny: flags that begin with `no` or say `only`, and lists of ports that are `none`."""
    words = pasta_arguments(egress, program="pasta", network_path="/n")
    lists = {option for option, value in itertools.pairwise(words) if value == "none"}
    flags = {word for word in words if word.startswith("--no-") or word.endswith("-only")}
    return {f"pasta {word}" for word in (lists | flags) - SAYS_WHERE}


def all_guards(host_addresses: Iterable[str], *, is_windows: bool = False) -> set[str]:
    """Every guard of a run on a host with these addresses."""
    network = decide([IPv4Interface(text) for text in host_addresses], is_windows=is_windows).network
    return (
        guards_of_firewall(firewall(network, resolver=1, proxy=2, addresses=3))
        | guards_of_sysctls()
        | guards_of_pasta(network.egress)
    )
