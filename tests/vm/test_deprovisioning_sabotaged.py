"""One real build whose customizer, as root, sabotages the deprovisioning in ten ways: the look from outside tells.

Each way keeps something of its own in the image, and one unit writes twenty classes of leftovers while the VM shuts
down, behind every step of the build. What has no effect is seen by what is not left.
"""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
from conftest import Told, a_template, runner, shell, unchanged_world

from vmkiln.run.gates import hygiene_gate
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
WRITES = "".join(f"mkdir -p {path.rpartition('/')[0]}; echo x > {path}\n" for _, path in AT_SHUT_DOWN)
UNIT = """[Unit]
Description=writes at shut-down
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/bash /usr/local/lib/again
"""
WRITING = "while :; do mkdir -p /var/spool/cron; echo x > /var/spool/cron/packer; sleep 0.2; done"
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


@pytest.fixture(scope="module")
def refused(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The run, with all that the gate found in its error."""
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
