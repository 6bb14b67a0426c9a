"""Recognises scripts of a deployment that start the run of an image template; pure.

A script is not run here: what it would do is read from it, and done. So everything else it says must be of no
consequence: waiting, looking, telling, logging in. What is not known is refused, with its name.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vmkiln.api.resources.script_words import MOST_SCRIPT_LETTERS, Command, UnknownValue, commands_of
from vmkiln.azure_names import IMAGE_TEMPLATE, subscription_scope
from vmkiln.errors import InputError, Mistake
from vmkiln.template.resource_id import parse_resource_id

INSTEAD = (
    "give the image template `autoRun: {state: Enabled}`, or start its run after the deployment, and leave this "
    "resource out (`condition: false`)"
)
KINDS = {"azurepowershell": True, "azurecli": False}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONTROL = _words(
    "if else elseif elif while do until for foreach try catch finally throw return exit break continue switch process "
    "begin end then fi done in case esac function true false : [ [[ ]] ] test ! wait"
)
HARMLESS = _words(
    "start-sleep sleep install-module import-module install-packageprovider set-psrepository connect-azaccount "
    "set-azcontext select-azsubscription select-azcontext select-object where-object foreach-object sort-object "
    "measure-object out-null out-string out-host out-file set-strictmode set-alias new-timespan new-object "
    "convertto-json convertfrom-json disable-azcontextautosave update-azconfig enable-azcontextautosave wait-job "
    "receive-job test-path join-path select where echo printf set export local declare readonly unset read jq grep "
    "sed awk cut tr head tail cat date seq uname"
)
LOOKING = ("get-", "write-", "format-")
HARMLESS_AZ = _words(  # their words joined by `_`
    "login logout account config extension version cloud image_builder_show image_builder_wait image_builder_list "
    "image_builder_show-runs resource_show resource_wait resource_list group_show group_wait group_exists identity_show"
)
WAITING = {"start-sleep", "sleep", "wait-job"}


@dataclass(frozen=True)
class RunScript:
    """What a script does: it starts the run of these image templates, and waits for their ends or not."""

    template_ids: tuple[str, ...]
    waits: bool
    outputs: Mapping[str, str]


class _NotARun(Exception):
    """A command that starts no run of an image template; the message says what stands in the way."""


def read_script(
    properties: Mapping[str, Any], kind: Any, *, subscription_id: str
) -> tuple[RunScript | None, list[Mistake]]:
    """What the script of a deploymentScripts resource does, or why that is not known."""
    is_powershell = KINDS.get(kind.lower() if isinstance(kind, str) else "")
    if is_powershell is None:
        return None, [Mistake("kind", "must be AzurePowerShell or AzureCLI")]
    text = properties.get("scriptContent")
    if not isinstance(text, str) or not text.strip():
        given = "primaryScriptUri" if properties.get("primaryScriptUri") else "scriptContent"
        why = "is not fetched: put the script into `scriptContent`" if given == "primaryScriptUri" else "is missing"
        return None, [Mistake(f"properties.{given}", why, f"or {INSTEAD}")]
    if len(text) > MOST_SCRIPT_LETTERS:
        return None, [Mistake("properties.scriptContent", f"has more than {MOST_SCRIPT_LETTERS} letters")]
    arguments = properties.get("arguments") or ""
    if not isinstance(arguments, str):
        return None, [Mistake("properties.arguments", "must be a string")]
    variables, mistakes = _environment(properties.get("environmentVariables"))
    if mistakes:
        return None, mistakes
    try:
        found = list(commands_of(text, is_powershell=is_powershell, variables=variables, arguments=arguments))
        script = _recognised(found, text, subscription_id=subscription_id)
    except UnknownValue as error:
        message = f"`{error.name}` of the script is known only when it runs, and no script is run here"
        hint = f"give its value in `environmentVariables` or `arguments`; or {INSTEAD}"
        return None, [Mistake("properties.scriptContent", message, hint)]
    except _NotARun as error:
        return None, [Mistake("properties.scriptContent", str(error), INSTEAD)]
    return script, []


def _environment(given: Any) -> tuple[dict[str, str], list[Mistake]]:
    path = "properties.environmentVariables"
    if given is None:
        return {}, []
    if not isinstance(given, list):
        return {}, [Mistake(path, "must be an array")]
    found, mistakes = {}, []
    for index, item in enumerate(given):
        name = item.get("name") if isinstance(item, dict) else None
        value = item.get("value", item.get("secureValue")) if isinstance(item, dict) else None
        if not isinstance(name, str) or not isinstance(value, str):
            mistakes.append(Mistake(f"{path}[{index}]", "needs name, and value or secureValue, as strings"))
        else:
            found[name] = value
    return found, mistakes


def _recognised(commands: list[Command], text: str, *, subscription_id: str) -> RunScript:
    started: dict[str, str] = {}
    waits = False
    for command in commands:
        words = [word.lower() for word in command.words]
        target = _started(command, words)
        if target is not None:
            template_id, has_end = _absolute(target, subscription_id), _waits_for_end(words)
            started.setdefault(template_id.lower(), template_id)
            waits = waits or has_end
        elif not _is_harmless(words):
            raise _NotARun(
                f"`{' '.join(command.words)[:80]}` is not done here: only runs of image templates are started"
            )
    if not started:
        raise _NotARun("starts no run of an image template, and no other script is run here")
    is_loop = re.search(r"(?i)\b(while|until|do|for)\b", text) is not None
    waits = waits or (is_loop and any(command.words[0].lower() in WAITING for command in commands))
    return RunScript(tuple(started.values()), waits, dict(_outputs(text, commands[-1])))


def _is_harmless(words: list[str]) -> bool:
    first = words[0]
    if first in CONTROL:
        return len(words) == 1 or _is_harmless(words[1:])
    if first == "az":
        path = "_".join(word for word in words[1:4] if not word.startswith("-"))
        return any(
            path == known or path.startswith(f"{known}_") or f"{path}_".startswith(f"{known}_") for known in HARMLESS_AZ
        )
    is_expression = not re.match(r"[a-z/~]", first) or "=" in first
    return is_expression or first in HARMLESS or first.startswith(LOOKING)


def _options(command: Command) -> dict[str, str]:
    """The options of a command by name, those of a splatted hash table too; a flag has ''."""
    found: dict[str, str] = {}
    words = list(command.words)
    index = 1
    while index < len(words):
        word = words[index]
        index += 1
        if word.startswith("@"):
            for name, value in command.tables.get(word[1:].lower(), {}).items():
                found[name] = command.value(value)
        elif word.startswith("-"):
            name, separator, value = word.partition("=") if word.startswith("--") else word.partition(":")
            has_value = index < len(words) and not words[index].startswith("-")
            if not separator and has_value:
                value = words[index]
                index += 1
            found[name.lstrip("-").lower()] = command.value(value)
    return found


def _first(options: Mapping[str, str], *names: str) -> str:
    return next((options[name] for name in names if options.get(name)), "")


def _started(command: Command, words: list[str]) -> str | None:
    """The id of the image template whose run a command starts; without its subscription when that is not said."""
    if words[0] == "az":
        return _started_by_az(command, words)
    match words[0]:
        case "invoke-azresourceaction":
            options = _options(command)
            if _first(options, "action").lower() != "run":
                return None
            return _first(options, "resourceid", "id") or _by_name(
                options, ("resourcename", "name"), ("resourcegroupname",)
            )
        case "start-azimagebuildertemplate":
            options = _options(command)
            return _by_name(options, ("imagetemplatename", "name"), ("resourcegroupname",), type_name=IMAGE_TEMPLATE)
        case "invoke-azrestmethod" | "invoke-azrest":
            options = _options(command)
            return _by_address(_first(options, "path", "uri"), _first(options, "method"))
    return None


def _started_by_az(command: Command, words: list[str]) -> str | None:
    if words[1:4] == ["image", "builder", "run"]:
        options = _options(command)
        return _first(options, "ids") or _by_name(
            options, ("name", "n"), ("resource-group", "g"), type_name=IMAGE_TEMPLATE
        )
    if words[1:3] == ["resource", "invoke-action"]:
        options = _options(command)
        if _first(options, "action").lower() != "run":
            return None
        return _first(options, "ids") or _by_name(options, ("name", "n"), ("resource-group", "g"))
    if words[1:2] == ["rest"]:
        options = _options(command)
        return _by_address(_first(options, "url", "uri", "u"), _first(options, "method", "m"))
    return None


def _by_name(
    options: Mapping[str, str], names: tuple[str, ...], groups: tuple[str, ...], *, type_name: str = ""
) -> str:
    name, group = _first(options, *names), _first(options, *groups)
    kind = type_name or _first(options, "resourcetype", "resource-type")
    if not name or not group or kind.lower() != IMAGE_TEMPLATE.lower():
        raise _NotARun(f"does not say which {IMAGE_TEMPLATE} of which resource group is to be run")
    return f"/resourceGroups/{group}/providers/{IMAGE_TEMPLATE}/{name}"


def _by_address(address: str, method: str) -> str | None:
    path = re.sub(r"^https?://[^/]+", "", address).partition("?")[0]
    if method.lower() != "post" or not path.lower().endswith("/run"):
        return None
    return path[: -len("/run")]


def _absolute(template_id: str, subscription_id: str) -> str:
    """The whole id. Raises: `_NotARun` when it is none of an image template."""
    if template_id.lower().startswith("/resourcegroups/"):
        template_id = subscription_scope(subscription_id) + template_id
    try:
        found = parse_resource_id(template_id)
    except InputError as error:
        raise _NotARun(f"names no image template: {error.message}") from None
    if not found.is_a(IMAGE_TEMPLATE):
        raise _NotARun(f"runs `{template_id[:200]}`, which is no image template")
    return str(found)


def _waits_for_end(words: list[str]) -> bool:
    """Whether the command itself comes back when the run has ended."""
    if words[0] == "start-azimagebuildertemplate":
        return not {"-nowait", "-asjob"} & set(words)
    return words[:4] == ["az", "image", "builder", "run"] and "--no-wait" not in words


def _outputs(text: str, last: Command) -> Iterator[tuple[str, str]]:
    """What a script gives as `$DeploymentScriptOutputs['name'] = value`, as far as the value is known."""
    pattern = r"(?im)\$DeploymentScriptOutputs(?:\[['\"](\w+)['\"]\]|\.(\w+))\s*=\s*(\S.*?)\s*;?\s*$"
    for found in re.finditer(pattern, text):
        try:
            yield found[1] or found[2], last.value(found[3])
        except UnknownValue:
            continue
