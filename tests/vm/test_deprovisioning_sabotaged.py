"""One real build whose customizer, as root, sabotages the deprovisioning in ten ways: the look from outside tells.

Each way keeps something of its own in the image, and one unit writes twenty classes of leftovers while the VM shuts
down, behind every step of the build. What has no effect is seen by what is not left. The customizer also plants secrets
of its own, which are told, and others that it deletes again, whose bytes are gone.
"""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Told, a_template, runner, shell, unchanged_world

from vmkiln.files.sparse_file import data_ranges
from vmkiln.host.disk.disk_image import convert_arguments
from vmkiln.host.qemu import Disk
from vmkiln.inspecting import hygiene
from vmkiln.run.gates import hygiene_gate
from vmkiln.run.run_event import Notice
from vmkiln.run_failures import GeneralizationIncomplete
from vmkiln.settings import Settings

pytestmark = pytest.mark.vm

COMPILER = shutil.which("cc")
MACHINE = "0123456789abcdef0123456789abcdef"
AT_SHUT_DOWN = (
    ("build-user", "/home/packer"),
    ("build-user", "/var/mail/packer"),
    ("build-user", "/var/spool/cron/crontabs/packer"),
    ("build-user", "/var/lib/systemd/linger/packer"),
    ("sudo-rights", "/etc/sudoers.d/90-vmkiln-way-out"),
    ("host-keys", "/etc/ssh/ssh_host_dsa_key"),
    ("machine-id", f"/var/log/journal/{MACHINE}/again"),
    ("cloud-init", "/var/lib/cloud/instances/again"),
    ("cloud-init", "/var/lib/cloud/seed/nocloud-net/user-data"),
    ("cloud-init", "/var/lib/cloud/instance"),
    ("cloud-init", "/var/log/cloud-init-output.log"),
    ("cloud-init", "/etc/systemd/network/10-cloud-init-again.network"),
    ("cloud-init", "/etc/network/interfaces.d/50-cloud-init.cfg"),
    ("cloud-init", "/etc/NetworkManager/system-connections/cloud-init-again.nmconnection"),
    ("random-seed", "/var/lib/systemd/credential.secret"),
    ("history", "/root/.bash_history"),
    ("history", "/root/.lesshst"),
    ("leases", "/var/lib/dhcp/again.leases"),
    ("leases", "/var/lib/NetworkManager/again.lease"),
    ("packer-files", "/var/tmp/packer-again"),
)
# what each way keeps, as the gate names it; beside these are a library before all others, and an alias
KEPT_BY = {
    "a program of its own first on PATH": "sudo-rights: /etc/sudoers.d/90-cloud-init-users",
    "a shell with a function": "machine-id: /var/lib/NetworkManager/secret_key",
    "another script in /tmp": "history: /root/.wget-hsts",
    "a waagent that only says that it worked": "leases: /var/lib/dhcp/kept.leases",
    "a file that nobody may change": "cloud-init: /etc/netplan/50-cloud-init.yaml",
    "a process that goes on writing": "build-user: /var/spool/cron/packer",
    "a unit that writes at shut-down": "build-user: /home/packer",
    "a bind mount": "cloud-init: /var/lib/cloud/data/below",
}
PRELOADED = "cloud-init: /etc/systemd/network/10-cloud-init-kept.network"
PRELOAD = """#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int unlinkat(int folder, const char *path, int flags) {
    return strstr(path, "init-kept.network") ? 0 : (int)syscall(SYS_unlinkat, folder, path, flags);
}
"""
KEY, CLOUD, TOKEN = "looks like a private key", "looks like a cloud credential", "looks like an access token"
TOOL, TYPED = "looks like a password of a tool", "is a history of what somebody typed"
# secrets that somebody else put there: the file, what it holds, and what is told of it
PLANTED = (
    ("/root/.ssh/id_rsa", "-----BEGIN RSA PRIVATE KEY-----", KEY),
    ("/home/someone/.ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----", KEY),
    ("/etc/ssl/private/web.key", "-----BEGIN EC PRIVATE KEY-----", KEY),
    ("/root/exported.asc", "-----BEGIN PGP PRIVATE KEY BLOCK-----", KEY),
    ("/home/someone/login.ppk", "PuTTY-User-Key-File-3: ssh-ed25519", KEY),
    ("/root/.config/age.txt", "AGE-SECRET-KEY-1" + "A" * 40, KEY),
    ("/root/.kube/config", "client-key-data: LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQ", KEY),
    ("/opt/application/store.p12", "a store", "looks like a store of keys"),
    ("/root/.aws/credentials", "aws_secret_access_key = none", CLOUD),
    ("/opt/deploy.sh", "export KEY=AKIA" + "A" * 16, CLOUD),
    ("/etc/application.conf", "AccountKey=" + "A" * 60, CLOUD),
    ("/etc/backup.conf", "SharedAccessSignature=sv=2026&sig=none", CLOUD),
    ("/root/.azure/tokens.json", '{"accessToken": "none"}', CLOUD),
    ("/opt/service-account.json", '{"private_key_id": "none"}', CLOUD),
    ("/etc/maps.conf", "key AIza" + "A" * 35, CLOUD),
    ("/home/someone/.config/gh/hosts.yml", "oauth_token: ghp_" + "A" * 36, TOKEN),
    ("/etc/runner.toml", "token glpat-" + "A" * 20, TOKEN),
    ("/etc/notify.conf", "token xoxb-" + "A" * 20, TOKEN),
    ("/root/.npmrc", "//registry/:_authToken=none", TOKEN),
    ("/root/.pypirc", "password pypi-" + "A" * 50, TOKEN),
    ("/var/lib/agent/token", f"eyJ{'A' * 20}.eyJ{'A' * 20}.{'A' * 30}", TOKEN),
    ("/root/.netrc", "machine example login me password none", TOOL),
    ("/root/.docker/config.json", '{"auths": {"example": {"auth": "bWU6bm9uZQ=="}}}', TOOL),
    ("/etc/pip.conf", "index-url = https://me:none@example/simple", TOOL),
    ("/var/lib/postgresql/.pgpass", "*:*:*:me:none", TOOL),
    ("/etc/NetworkManager/system-connections/office.nmconnection", "psk=none-none", TOOL),
    ("/home/someone/.bash_history", "mysql --password none", TYPED),
    ("/root/.psql_history", "alter role me password none", TYPED),
)
ACCOUNTS = {
    "the account nobody-asks has no password",
    "the account someone has a password",
    "the account builder has a password that everybody tries",
}
NO_SECRETS = {
    "/etc/ssl/private/ssl-cert-snakeoil.key": "-----BEGIN PRIVATE KEY-----",
    "/home/someone/.ssh/authorized_keys": "ssh-ed25519 AAAA someone@home",
}
PLANTS = "".join(
    f"plant {number:02} {path} '{content}'\n" for number, (path, content, _) in enumerate(PLANTED)
) + "".join(f"mkdir -p {path.rpartition('/')[0]}; echo '{content}' > {path}\n" for path, content in NO_SECRETS.items())
# each secret again in files of one block, which are deleted; what lies between them stays, so that no larger piece of
# the disk is free, which the file system itself would give back
PLANT = """plant() { # NUMBER PATH CONTENT
    mkdir -p "${2%/*}"
    printf '%s\\n' "$3" "vmkiln-planted-$1" > "$2"
    block=$3
    while [ "${#block}" -lt 4050 ]; do block="$block
vmkiln-deleted-$1"; done
    for copy in 1 2 3 4; do
        printf '%s\\n' "$block" > "/var/lib/deleted/$1-$copy"
        printf '%4000s\\n' stays > "/var/lib/stays/$1-$copy"
    done
}
"""
MARKED = re.compile(rb"vmkiln-(planted|deleted)-(\d\d)")
WRITES = "".join(f"mkdir -p {path.rpartition('/')[0]}; echo x > {path}\n" for _, path in AT_SHUT_DOWN)
UNIT = """[Unit]
Description=writes at shut-down
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/bash /usr/local/lib/again
"""
# once more when it is ended, for the VM may power off before its next turn
WRITING = """writes() { mkdir -p /var/spool/cron; echo x > /var/spool/cron/packer; }
trap 'writes; exit' TERM
while :; do writes; sleep 0.2; done"""
SABOTAGE = f"""set -e
mkdir -p /var/lib/NetworkManager /var/lib/dhcp /etc/netplan /usr/local/sbin /usr/local/lib
# the process that goes on writing, and the unit that writes at shut-down
printf '%s' '{UNIT}' > /etc/systemd/system/again.service
cat > /usr/local/lib/again << 'AGAIN'
{WRITES}AGAIN
cat > /usr/local/lib/writes << 'WRITES'
{WRITING}
WRITES
systemctl daemon-reload
systemctl start again.service
systemd-run --unit=writes /bin/bash /usr/local/lib/writes
# the script in /tmp, and the waagent that it calls
echo x > /root/.wget-hsts
echo x > /var/lib/dhcp/kept.leases
printf '#!/bin/bash\\necho deprovisioned\\n' > /usr/sbin/waagent
chmod 0755 /usr/sbin/waagent
rm /tmp/DeprovisioningScript.sh
printf '#!/bin/sh\\n/usr/sbin/waagent -force -deprovision+user && export HISTSIZE=0 && sync\\n' > /tmp/DeprovisioningScript.sh
# the bind mount, and the file that nobody may change
mkdir -p /var/lib/cloud/data /run/nothing
echo x > /var/lib/cloud/data/below
mount --bind /run/nothing /var/lib/cloud/data
[ -e /etc/netplan/50-cloud-init.yaml ] || echo x > /etc/netplan/50-cloud-init.yaml
chattr +i /etc/netplan/50-cloud-init.yaml
# the alias, and a library before all others
echo "shopt -s expand_aliases; alias rm=: userdel=: find=:" | tee -a /root/.bashrc /root/.profile /etc/profile > /dev/null
mkdir -p /etc/systemd/network
echo x > /etc/systemd/network/10-cloud-init-kept.network
if [ -s /tmp/preload.so ]; then
    install -m 0755 /tmp/preload.so /usr/local/lib/preload.so
    echo /usr/local/lib/preload.so > /etc/ld.so.preload
fi
# the secrets
{PLANT}
mkdir /var/lib/deleted /var/lib/stays
{PLANTS}
useradd -M -p '' nobody-asks
useradd -M builder
echo builder:builder | chpasswd
useradd -M -p '$1$salt$K6KKinTodvw8QgsIb3jvt1' someone
sync
rm -r /var/lib/deleted
sync
# PATH, and last the shell
printf 'packer ALL=(ALL) NOPASSWD:ALL\\n' > /etc/sudoers.d/90-cloud-init-users
cat > /usr/local/sbin/rm << 'FIRST'
#!/bin/bash
case "$*" in *90-cloud-init-users*) exit 0;; esac
exec /usr/bin/rm "$@"
FIRST
chmod 0755 /usr/local/sbin/rm
echo x > /var/lib/NetworkManager/secret_key
cat > /usr/local/lib/sh << 'SHELL'
#!/bin/bash
rm() {{ case "$*" in *secret_key*) return 0;; esac; command rm "$@"; }}
export -f rm
exec -a sh /bin/bash "$@"
SHELL
chmod 0755 /usr/local/lib/sh
ln -sf /usr/local/lib/sh /usr/bin/sh.new
mv /usr/bin/sh.new /usr/bin/sh
echo is sabotaged
"""


@dataclass
class Marks:
    """The secrets whose bytes are on the disk, as a guest would read it: before the scrub, and after it."""

    before: set[tuple[bytes, bytes]] = field(default_factory=set)
    after: set[tuple[bytes, bytes]] = field(default_factory=set)


def marks_of(disk: Disk, scratch: Path) -> set[tuple[bytes, bytes]]:
    """Which secrets' bytes are on the disk, in a file or not."""
    subprocess.run(convert_arguments(disk, scratch, target_format="raw"), check=True, capture_output=True)
    found: set[tuple[bytes, bytes]] = set()
    with scratch.open("rb") as file:
        for start, end in data_ranges(file.fileno(), scratch.stat().st_size):
            for position in range(start, end, 16 * 1024**2):
                file.seek(position)
                found.update(MARKED.findall(file.read(min(16 * 1024**2 + 64, end - position))))
    scratch.unlink()
    return found


@pytest.fixture(scope="module")
def marks() -> Marks:
    return Marks()


@pytest.fixture(scope="module")
def refused(prepared: Settings, marks: Marks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The run, with all that the gate found in its error."""
    look_at, scratch = hygiene_gate.look_at, tmp_path_factory.mktemp("bytes") / "disk.raw"

    async def looking(namespace: Any, machine: Any, **more: Any) -> Any:
        marks.before = await asyncio.to_thread(marks_of, machine.disks[0], scratch)
        contents = await look_at(namespace, machine, **more)
        marks.after = await asyncio.to_thread(marks_of, machine.disks[0], scratch)
        return contents

    files = tmp_path_factory.mktemp("files")
    (files / "sabotage.sh").write_text(SABOTAGE)
    (files / "preload.so").touch()
    if COMPILER:
        (files / "preload.c").write_text(PRELOAD)
        command = [COMPILER, "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", "preload.so", "preload.c"]
        subprocess.run(command, cwd=files, check=True)
    take = [
        {"type": "File", "name": "library", "sourceUri": "file:preload.so", "destination": "/tmp/preload.so"},
        {"type": "File", "name": "file", "sourceUri": "file:sabotage.sh", "destination": "/tmp/sabotage.sh"},
        shell("sudo bash /tmp/sabotage.sh", name="sabotage"),
    ]
    with pytest.MonkeyPatch.context() as patch, unchanged_world(prepared):
        patch.setattr(hygiene_gate, "MOST_NAMED", 1000)
        patch.setattr(hygiene, "MOST_TOLD", 1000)
        patch.setattr(hygiene_gate, "look_at", looking)
        yield runner(replace(prepared, allowed_residues=""), files)(a_template(*take, name="sabotaged"))


def test_no_image_comes_of_a_sabotaged_deprovisioning(refused: Told) -> None:
    assert "    null: is sabotaged" in refused.log
    assert isinstance(refused.error, GeneralizationIncomplete), "\n".join([str(refused.error), *refused.log[-40:]])


@pytest.mark.parametrize("way", KEPT_BY)
def test_what_a_sabotage_kept_is_named(refused: Told, way: str) -> None:
    assert KEPT_BY[way] in str(refused.error).replace("the image is not generalized: ", "").split("; ")


@pytest.mark.skipif(not COMPILER, reason="no C compiler makes the library")
def test_what_a_preloaded_library_kept_is_named(refused: Told) -> None:
    assert PRELOADED in str(refused.error)


def test_an_alias_keeps_nothing(refused: Told) -> None:
    assert "build-user: /etc/passwd" not in str(refused.error), "the build user is gone, for no shell reads aliases"


@pytest.mark.parametrize(("kind", "path"), AT_SHUT_DOWN)
def test_what_comes_back_at_shut_down_is_named(refused: Told, kind: str, path: str) -> None:
    assert f"{kind}: {path}" in str(refused.error)


def told_of_the_image(refused: Told) -> set[str]:
    texts = [event.text for event in refused.events if isinstance(event, Notice)]
    return {text.removeprefix("in the image: ") for text in texts if text.startswith("in the image: ")}


def test_every_planted_secret_is_told_and_none_is_refused(refused: Told) -> None:
    expected = {f"{path} {what}" for path, _, what in PLANTED} | ACCOUNTS
    assert expected - told_of_the_image(refused) == set()
    assert [path for path, _, _ in PLANTED if path in str(refused.error)] == []


def test_a_snakeoil_key_and_a_users_own_login_key_are_no_failure(refused: Told) -> None:
    assert [path for path in NO_SECRETS if path in str(refused.error)] == []
    about = {sentence for sentence in told_of_the_image(refused) if sentence.startswith(tuple(NO_SECRETS))}
    assert about == {"/home/someone/.ssh/authorized_keys lets whoever has its keys log in"}


def test_no_byte_of_a_deleted_secret_is_on_the_disk(refused: Told, marks: Marks) -> None:
    assert refused.error is not None
    deleted = {number for kind, number in marks.before if kind == b"deleted"}
    assert deleted, "they were there, so that the search would find them"
    kept = {(b"planted", f"{number:02}".encode()) for number in range(len(PLANTED))}
    assert marks.after == kept, "and those that were not deleted are found"
