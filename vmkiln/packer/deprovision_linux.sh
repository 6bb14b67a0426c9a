#!/bin/sh
# The hidden last customizer: makes the VM's disk an image that belongs to nobody, then powers the VM off.
# The default lies at /tmp/DeprovisioningScript.sh while customizers run; they may change it or put their own there.
# What this build itself put into the VM (its user, its key, its seed) is taken out in either case.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
build_user=packer
own_script=/tmp/DeprovisioningScript.sh

# as step_runner.py tells it: which start of the VM this is
printf '\036s%s\n' "$(cat /proc/sys/kernel/random/boot_id)"

say() { echo "[deprovision] $*"; }

default_script() {
    cat << 'VMKILN_DEFAULT'
@DEFAULT@
VMKILN_DEFAULT
}

# A short build comes here while the first boot still goes on. What cloud-init writes then, it would write again behind
# all that is taken away below.
cloud_init_works() { systemctl list-jobs --no-legend 2> /dev/null | grep -q ' cloud-'; }
if cloud_init_works; then
    say "waiting for cloud-init, which still works on this boot"
    waited=0
    while cloud_init_works && [ "$waited" -lt 300 ]; do
        sleep 1
        waited=$((waited + 1))
    done
    if cloud_init_works; then
        say "cloud-init has not ended after 5 minutes; it is stopped"
        systemctl stop 'cloud-*' > /dev/null 2>&1
    fi
fi

if [ ! -f "$own_script" ]; then
    say "there is no $own_script, so the default is run"
    sh -c "$(default_script)"
    status=$?
elif [ "$(cat "$own_script")" = "$(default_script)" ]; then
    say "$own_script is the default, unchanged"
    sh -c "$(default_script)"
    status=$?
else
    say "the template's own script $own_script:"
    cat "$own_script"
    chmod 0700 "$own_script"
    "$own_script"
    status=$?
fi
if [ "$status" -ne 0 ]; then
    say "$own_script ended with status $status"
    printf '\036e%s\n' "$status"
    if [ "$status" -eq 127 ] && ! command -v waagent > /dev/null 2>&1 && grep -q waagent "$own_script" 2> /dev/null; then
        say "this image has no waagent: install its package (walinuxagent, WALinuxAgent) in an earlier step," \
            "add it to the image's catalogue entry, or leave the script out"
    fi
    exit "$status"
fi

# what this build brought in
for file in /etc/netplan/50-cloud-init.yaml /etc/systemd/network/10-cloud-init-*.network \
    /etc/network/interfaces.d/50-cloud-init /etc/network/interfaces.d/50-cloud-init.cfg \
    /etc/NetworkManager/system-connections/cloud-init-*.nmconnection /etc/sysconfig/network-scripts/ifcfg-primary \
    /etc/sudoers.d/90-cloud-init-users /etc/sudoers.d/90-vmkiln-way-out /etc/systemd/system/run-packer.mount \
    /etc/systemd/system/local-fs.target.wants/run-packer.mount; do
    rm -f "$file"
done
rmdir /etc/systemd/system/local-fs.target.wants 2> /dev/null
rm -rf /run/netplan /run/cloud-init /var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/seed/nocloud*
rm -f /var/lib/cloud/data/* /var/log/cloud-init.log* /var/log/cloud-init-output.log*
# NetworkManager's addresses and its DHCP ids come of it; it makes another at its next start
rm -f /var/lib/NetworkManager/secret_key
if [ "$(cat /etc/hostname 2> /dev/null)" = "build-vm" ]; then echo localhost > /etc/hostname; fi
if [ -f /etc/hosts ]; then sed -i '/[[:space:]]build-vm\([[:space:]]\|$\)/d' /etc/hosts; fi
for file in /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys; do
    # the comment of the run's key
    if [ -f "$file" ] && grep -q ' vmkiln-build$' "$file"; then
        sed -i '/ vmkiln-build$/d' "$file"
        if [ ! -s "$file" ]; then rm -f "$file"; fi
    fi
done
userdel --force --remove "$build_user" > /dev/null 2>&1
rm -rf "/home/${build_user:?}" "/var/mail/${build_user:?}" "/var/spool/cron/crontabs/${build_user:?}" \
    "/var/spool/cron/${build_user:?}" "/var/lib/sudo/lectured/${build_user:?}" "/var/db/sudo/lectured/${build_user:?}" \
    "/var/lib/systemd/linger/${build_user:?}"
for file in /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid-; do rm -f "$file"; done
rm -rf /var/tmp/cloud-init
find /tmp -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' -exec rm -rf {} + 2> /dev/null
if getent passwd "$build_user" > /dev/null; then
    say "the build user $build_user could not be removed"
    exit 1
fi
rm -f "$0"
say "removed what the build brought in: its user $build_user, its key, its seed with network and host name, and all in /tmp"
say "done; the VM powers off"
printf '\036e0\n'
fstrim --all > /dev/null 2>&1
sync
# once this step has reported its own success, which it has when what started it is gone
(
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -e "/proc/$PPID" ] && sleep 0.1; done
    sleep 0.2
    systemctl --no-block --no-wall poweroff || poweroff -f
) > /dev/null 2>&1 < /dev/null &
exit 0
