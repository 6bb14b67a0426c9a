#!/bin/sh
# The hidden last customizer: makes the VM's disk an image that belongs to nobody, then powers the VM off.
# A customizer may put its own script at /tmp/DeprovisioningScript.sh; it then replaces the default below.
# What this build itself put into the VM (its user, its key, its seed) is taken out in either case.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
build_user=packer
own_script=/tmp/DeprovisioningScript.sh

say() { echo "[deprovision] $*"; }

default_script() {
    if command -v waagent > /dev/null 2>&1 && waagent -version > /dev/null 2>&1; then
        say "waagent -force -deprovision+user"
        waagent -force -deprovision+user || exit 1
    fi
    if command -v cloud-init > /dev/null 2>&1; then
        say "cloud-init clean"
        cloud-init clean --logs || exit 1
    fi
    rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
    if [ -e /etc/machine-id ]; then : > /etc/machine-id; fi # empty: a new one at the next boot, no unit set up anew
    rm -f /var/lib/dbus/machine-id
    if [ -d /var/lib/dbus ]; then ln -s /etc/machine-id /var/lib/dbus/machine-id; fi
    # its service would write the seed again while the VM powers off
    systemctl stop systemd-random-seed.service > /dev/null 2>&1
    rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /etc/udev/rules.d/70-persistent-net.rules
    rm -rf /var/lib/dhcp/*.leases /var/lib/dhcp/*.lease /var/lib/NetworkManager/*.lease /run/systemd/netif/leases/*
    rm -rf /var/log/journal/* /run/log/journal/*
    find /var/log -type f -exec truncate -s 0 {} +
    rm -f /root/.bash_history /root/.wget-hsts /root/.viminfo
    rm -rf /root/.cache /root/.ssh/authorized_keys
    for home in /home/*; do rm -f "$home/.bash_history" "$home/.viminfo"; done
}

if [ -f "$own_script" ]; then
    say "the template's own script $own_script:"
    cat "$own_script"
    chmod 0700 "$own_script"
    "$own_script"
    status=$?
    if [ "$status" -ne 0 ]; then
        say "$own_script ended with status $status"
        exit "$status"
    fi
else
    say "no $own_script was written, so the default is run:"
    sed -n '/^default_script() {/,/^}/p' "$0"
    default_script
fi

# what this build brought in
for file in /etc/netplan/50-cloud-init.yaml /etc/systemd/network/10-cloud-init-*.network \
    /etc/network/interfaces.d/50-cloud-init /etc/network/interfaces.d/50-cloud-init.cfg \
    /etc/NetworkManager/system-connections/cloud-init-*.nmconnection /etc/sysconfig/network-scripts/ifcfg-primary \
    /etc/sudoers.d/90-cloud-init-users; do
    rm -f "$file"
done
rm -rf /run/netplan /run/cloud-init /var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/seed/nocloud*
rm -f /var/lib/cloud/data/* /var/log/cloud-init.log /var/log/cloud-init-output.log
if [ "$(cat /etc/hostname 2> /dev/null)" = "build-vm" ]; then echo localhost > /etc/hostname; fi
if [ -f /etc/hosts ]; then sed -i '/[[:space:]]build-vm\([[:space:]]\|$\)/d' /etc/hosts; fi
for file in /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys; do
    # the comment of the run's key
    if [ -f "$file" ]; then sed -i '/ vmkiln-build$/d' "$file"; fi
done
userdel --force --remove "$build_user" > /dev/null 2>&1
rm -rf "/home/${build_user:?}" "/var/mail/${build_user:?}" "/var/spool/cron/crontabs/${build_user:?}" \
    "/var/spool/cron/${build_user:?}" "/var/lib/sudo/lectured/${build_user:?}" "/var/db/sudo/lectured/${build_user:?}" \
    "/var/lib/systemd/linger/${build_user:?}"
for file in /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid-; do rm -f "$file"; done
find /tmp /var/tmp -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' ! -name "$(basename "$0")" -exec rm -rf {} + 2> /dev/null
if getent passwd "$build_user" > /dev/null; then
    say "the build user $build_user could not be removed"
    exit 1
fi
rm -f "$0"
say "done; the VM powers off"
fstrim --all > /dev/null 2>&1
sync
# once this step has reported its own success, which it has when what started it is gone
(
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -e "/proc/$PPID" ] && sleep 0.1; done
    sleep 0.2
    systemctl --no-block --no-wall poweroff || poweroff -f
) > /dev/null 2>&1 < /dev/null &
exit 0
