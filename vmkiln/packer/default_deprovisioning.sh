#!/bin/sh
# vmkiln's default deprovisioning. A customizer may change this file, or put its own in its place.
# It takes away what belongs to this one VM; what customizers put on the disk stays. What the build itself brought in
# (its user and key, its seed, what is in /tmp) goes afterwards, in any case.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

say() { echo "[deprovision] $*"; }

take() { # take WHAT FILE...: remove what is there of these, and say so
    what=$1 found=
    shift
    for file in "$@"; do
        if [ -e "$file" ] || [ -L "$file" ]; then found="$found $file" && rm -rf "$file"; fi
    done
    if [ -n "$found" ]; then say "removed $what:$found"; fi
}

if command -v waagent > /dev/null 2>&1 && waagent -version > /dev/null 2>&1; then
    say "waagent -force -deprovision+user"
    /usr/sbin/waagent -force -deprovision+user && export HISTSIZE=0 && sync || exit 1
fi
if command -v cloud-init > /dev/null 2>&1; then
    say "cloud-init clean --logs"
    cloud-init clean --logs || exit 1
fi
take "ssh host keys" /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
if [ -e /etc/machine-id ]; then # empty: a new one at the next boot, no unit set up anew
    say "emptied /etc/machine-id"
    : > /etc/machine-id
fi
rm -f /var/lib/dbus/machine-id
if [ -d /var/lib/dbus ]; then ln -s /etc/machine-id /var/lib/dbus/machine-id; fi
# its service would write the seed again while the VM powers off
systemctl stop systemd-random-seed.service > /dev/null 2>&1
take "the random seed and this VM's devices" /var/lib/systemd/random-seed /var/lib/systemd/credential.secret \
    /boot/loader/random-seed /boot/efi/loader/random-seed /efi/loader/random-seed \
    /etc/udev/rules.d/70-persistent-net.rules
take "leases" /var/lib/dhcp/*.leases /var/lib/dhcp/*.lease /var/lib/dhclient/*.lease* /var/lib/dhcpcd/*.lease* \
    /var/lib/dhcpcd/duid /var/lib/dhcpcd/secret /var/lib/wicked/lease-*.xml /var/lib/wicked/duid.xml \
    /var/lib/NetworkManager/*.lease /run/systemd/netif/leases/*
take "the journal" /var/log/journal/* /run/log/journal/*
take "root's traces" /root/.bash_history /root/.wget-hsts

# logs of the system itself; those that customizers made stay
emptied=
cd /var/log || exit 0
for file in alternatives.log* apt/* audit/audit.log* auth.log* boot.log* bootstrap.log* btmp* chrony/* cloud-init*.log* \
    cron cron.log cron-* daemon.log* debug debug.* dmesg* dnf*.log* dpkg.log* faillog hawkey.log* kern.log* lastlog \
    mail.* maillog* messages* private/* secure secure-* spooler* syslog* sysstat/* tallylog unattended-upgrades/* \
    user.log* waagent.log* wtmp* yum.log* zypp/* zypper.log*; do
    if [ -f "$file" ] && [ -s "$file" ] && [ ! -L "$file" ]; then emptied="$emptied $file" && : > "$file"; fi
done
if [ -n "$emptied" ]; then say "emptied in /var/log:$emptied"; fi
exit 0
