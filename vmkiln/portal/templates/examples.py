"""What the form of a new template begins with: a template that works at once, of a few kinds; pure.

`SUBSCRIPTION`, `GROUP` and `NAME` are what the form's own fields say.
"""

from collections.abc import Sequence
from typing import Any

HELLO = "hello"
TITLES = {
    HELLO: "a file in it",
    "web-server": "a web server, checked",
    "hardened": "a login by keys alone",
    "vhd": "a VHD",
}
IMAGE = "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Compute/images/NAME"
MANAGED = {"type": "ManagedImage", "runOutputName": "image", "imageId": IMAGE, "location": "westus2"}
SSHD = "/etc/ssh/sshd_config.d"
HELLO_STEP = {"type": "Shell", "name": "hello", "inline": ["echo hello | sudo tee /etc/hello"]}


def example(name: str) -> dict[str, Any]:
    """The example of this name, `hello` for one that is not known."""
    match name:
        case "web-server":
            return _template(
                [_shell("nginx", "sudo apt-get update", "sudo apt-get install -y nginx")],
                validate={"inVMValidations": [_shell("configured", "sudo nginx -t")]},
            )
        case "hardened":
            return _template(
                [_shell("keys-alone", f"echo PasswordAuthentication no | sudo tee {SSHD}/10-keys-alone.conf")],
                validate={"inVMValidations": [_shell("said", "sudo sshd -T | grep -qx 'passwordauthentication no'")]},
            )
        case "vhd":
            return _template([HELLO_STEP], distribute=[{"type": "VHD", "runOutputName": "disk"}])
        case _:
            return _template([HELLO_STEP])


def _shell(name: str, *lines: str) -> dict[str, Any]:
    return {"type": "Shell", "name": name, "inline": list(lines)}


def _template(steps: Sequence[dict[str, Any]], **others: Any) -> dict[str, Any]:
    names = {"publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}
    properties = {"source": {"type": "PlatformImage", **names}, "customize": list(steps), "distribute": [MANAGED]}
    return {"location": "westus2", "identity": {"type": "None"}, "properties": {**properties, **others}}
