#!/bin/busybox sh
# The first process of the container group: mounts its two disks, starts the container instance, reports, powers off.
# /dev/vda: the container image (Packer), read-only. /dev/vdb: the container instance's input, read-only.
# Ports: packerizercontainer.log (what Packer prints, raw), packerizercontainer.events (one line an event).
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/lib/modules/$module"; done < /lib/modules/order

value_of() { for word in $(cat /proc/cmdline); do case "$word" in "$1="*) echo "${word#*=}" ;; esac; done; }
# the driver's ports come one by one, some time after the driver
port_of() {
    for _ in $(seq 300); do
        for port in /sys/class/virtio-ports/*; do
            [ "$(cat "$port/name" 2> /dev/null)" = "$1" ] && echo "/dev/${port##*/}" && return
        done
        sleep 0.1
    done
}

log=$(port_of packerizercontainer.log)
events=$(port_of packerizercontainer.events)
exec 3> "$events"
echo "started" >&3

ip link set lo up
ip link set eth0 up
ip address add "$(value_of vmkiln.address)" dev eth0
ip route add default via "$(value_of vmkiln.gateway)"

mount -t ext4 -o ro /dev/vda /root
mount -t tmpfs -o nosuid,nodev,size=64m tmp /root/tmp
mount -t ext4 -o ro /dev/vdb /root/aib/packerInput
mount -t proc proc /root/proc
mount -o bind /dev /root/dev

# Packer tries a refused connection again only every few seconds; the relay answers it when the VM's port is open
target=$(value_of vmkiln.target)
chroot /root /perl /relay.pl "$(value_of vmkiln.relay)" "${target%:*}" "${target#*:}" < /dev/null > /dev/console 2>&1 &

set --
while IFS= read -r argument; do set -- "$@" "$argument"; done < /root/aib/packerInput/arguments
while IFS= read -r assignment; do export "${assignment?}"; done < /root/aib/packerInput/environment
export PATH=/
cd /root || exit 1
/bin/chroot /root "$@" > "$log" 2>&1 < /dev/null
status=$?
export PATH=/bin
echo "peak $(awk '/^MemTotal/ {total = $2} /^MemAvailable/ {free = $2} END {print total - free}' /proc/meminfo)" >&3
echo "exited $status" >&3
exec 3>&-
sync
poweroff -f
