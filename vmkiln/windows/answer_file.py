"""The answer file that sets up a generalized Windows without asking anybody; pure.

It says nothing that a script can do later: set-up gives no reason when it dislikes an answer. Its passes are those that
a generalized image still goes through, `specialize` and `oobeSystem`. Nobody is logged in (a logon installs packages
for one user, which sysprep then refuses) but in the second way, for editions that run no script at the end of set-up.
Source: Microsoft, "Unattended Windows Setup Reference" (components, passes, lengths) and "Windows Setup Automation
Overview" (where answers are looked for).
"""

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from vmkiln.windows.login_tag import Hook
from vmkiln.windows.run_login import HOST_NAME, USER, RunLogin
from vmkiln.windows.scripts import FIRST_BOOT

NAMESPACE = "urn:schemas-microsoft-com:unattend"
WCM = "http://schemas.microsoft.com/WMIConfig/2002/State"
DRIVES = " ".join("DEFGHIJKLMNOPQRSTUVWXYZ")
MOST_COMMAND_LETTERS = 259  # of a command of set-up
FALLBACK_LANGUAGE = "en-US"


@dataclass(frozen=True)
class Answer:
    """What differs between images: how the script is run at the end, and the language that the image has."""

    login: RunLogin
    hook: Hook = Hook.SETUP_COMPLETE
    language: str = FALLBACK_LANGUAGE
    architecture: str = "amd64"


def command(phase: str) -> str:
    """Runs the script from whatever drive the disc of the run is."""
    script = rf"%d:\{FIRST_BOOT}"
    powershell = f"powershell -NoProfile -ExecutionPolicy Bypass -File {script} -Phase {phase}"
    return f"cmd.exe /c for %d in ({DRIVES}) do if exist {script} {powershell}"


def answer_file(answer: Answer) -> str:
    """The whole answer file as XML."""
    root = ET.Element("unattend", {"xmlns": NAMESPACE, "xmlns:wcm": WCM})
    specialize = _pass(root, "specialize")
    run = ET.SubElement(_component(specialize, "Deployment", answer), "RunSynchronous")
    one = _added(run, "RunSynchronousCommand")
    _texts(one, Order="1", Description="vmkiln", Path=command("specialize"))
    _texts(_component(specialize, "Shell-Setup", answer), ComputerName=HOST_NAME)
    oobe = _pass(root, "oobeSystem")
    language = answer.language
    names = ("InputLocale", "SystemLocale", "UILanguage", "UserLocale")
    _texts(_component(oobe, "International-Core", answer), **dict.fromkeys(names, language))
    shell = _component(oobe, "Shell-Setup", answer)
    if answer.hook is Hook.FIRST_LOGON:
        _first_logon(shell, answer.login)
    pages = ("HideEULAPage", "HideLocalAccountScreen", "HideOEMRegistrationScreen", "HideOnlineAccountScreens")
    hidden = dict.fromkeys((*pages, "HideWirelessSetupInOOBE"), "true")
    _texts(ET.SubElement(shell, "OOBE"), **hidden, ProtectYourPC="3")
    accounts = ET.SubElement(shell, "UserAccounts")
    _password(accounts, "AdministratorPassword", answer.login.administrator_password)
    user = _added(ET.SubElement(accounts, "LocalAccounts"), "LocalAccount")
    _password(user, "Password", answer.login.password)
    _texts(user, DisplayName=USER, Group="Administrators", Name=USER)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _first_logon(shell: ET.Element, login: RunLogin) -> None:
    logon = ET.SubElement(shell, "AutoLogon")
    _password(logon, "Password", login.password)
    _texts(logon, Enabled="true", LogonCount="1", Username=USER)
    commands = ET.SubElement(shell, "FirstLogonCommands")
    for order, (what, line) in enumerate(
        (("vmkiln", command("complete")), ("log off", "cmd.exe /c shutdown.exe /l /f")), 1
    ):
        one = _added(commands, "SynchronousCommand")
        _texts(one, Order=str(order), Description=what, CommandLine=line, RequiresUserInput="false")


def _component(settings: ET.Element, name: str, answer: Answer) -> ET.Element:
    attributes = {
        "name": f"Microsoft-Windows-{name}",
        "processorArchitecture": answer.architecture,
        "publicKeyToken": "31bf3856ad364e35",
        "language": "neutral",
        "versionScope": "nonSxS",
    }
    return ET.SubElement(settings, "component", attributes)


def _pass(root: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(root, "settings", {"pass": name})


def _added(parent: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(parent, name, {"wcm:action": "add"})


def _texts(parent: ET.Element, **texts: str) -> None:
    for name, text in texts.items():
        ET.SubElement(parent, name).text = text


def _password(parent: ET.Element, name: str, password: str) -> None:
    _texts(ET.SubElement(parent, name), Value=password, PlainText="true")
