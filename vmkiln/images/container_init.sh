#!/bin/busybox sh
# The first process of the container group: mounts its two disks, starts the container instance, reports, powers off.
# /dev/vda: the container image (Packer), read-only. /dev/vdb: the container instance's input, read-only.
# Ports: packerizercontainer.log (what Packer prints, raw), packerizercontainer.events (one line an event).
# The input disk's file `network` has a NAME=VALUE a line: mac, address, gateway; relay, target and port of the way to
# the VM, and which program stands in it (`way`: relay for ssh, forwarder for WinRM).
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/lib/modules/$module"; done < /lib/modules/order

value_of() { while IFS='=' read -r name value; do [ "$name" = "$1" ] && echo "$value"; done < /root/aib/packerInput/network; }
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

ip link set lo up
ip link set eth0 up
mount -t ext4 -o ro /dev/vda /root
mount -t tmpfs -o nosuid,nodev,size=64m tmp /root/tmp
mount -t proc proc /root/proc
mount -o bind /dev /root/dev

# Up to here all is the same for every run. A group that is to be saved sees its network unplugged, and tells that it has
# come this far; whichever goes on from there becomes a machine of its own before it looks at anything of its run.
read -r carrier < /sys/class/net/eth0/carrier
if [ "$carrier" = 0 ]; then
    cat /root/packer > /dev/null
    device=$(readlink /sys/block/vdb/device)
    echo "ready" >&3
    driver=/sys/bus/virtio/drivers/virtio_blk
    chroot /root /perl /renew.pl "${device##*/}" \
        4< /sys/class/net/eth0/carrier 5> "$driver/unbind" 6> "$driver/bind" > /dev/console 2>&1 || poweroff -f
    hwclock -s -u
fi
echo "started" >&3

mount -t ext4 -o ro /dev/vdb /root/aib/packerInput
ip link set eth0 address "$(value_of mac)"
ip address add "$(value_of address)" dev eth0
ip route add default via "$(value_of gateway)"

# Packer tries a refused connection again only every few seconds; the relay answers it when the VM's port is open
chroot /root /perl "/$(value_of way).pl" "$(value_of relay)" "$(value_of target)" "$(value_of port)" < /dev/null > /dev/console 2>&1 &

set --
while IFS= read -r argument; do set -- "$@" "$argument"; done < /root/aib/packerInput/arguments
while IFS= read -r assignment; do export "${assignment?}"; done < /root/aib/packerInput/environment
# why Packer could not log in by WinRM stands only in its debug log, of which no more than that is kept
why=
if [ -n "$PACKER_LOG_PATH" ]; then
    mkfifo "/root$PACKER_LOG_PATH"
    exec 4<> "/root$PACKER_LOG_PATH"  # so that awk has no first writer to wait for, if Packer never opens it
    awk '/WinRM connection err/ {last = $0} END {print last}' "/root$PACKER_LOG_PATH" 4>&- > /root/tmp/why &
    why=$!
fi
export PATH=/
cd /root || exit 1
/bin/chroot /root "$@" > "$log" 2>&1 < /dev/null 4>&-
status=$?
export PATH=/bin
if [ -n "$why" ]; then
    exec 4>&-
    wait "$why"
    [ "$status" = 0 ] || cat /root/tmp/why >> "$log"
fi
echo "peak $(awk '/^MemTotal/ {total = $2} /^MemAvailable/ {free = $2} END {print total - free}' /proc/meminfo)" >&3
echo "exited $status" >&3
exec 3>&-
sync
poweroff -f
