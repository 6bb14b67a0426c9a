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

# runs what the folder's `arguments` say, a word a line, in the environment that its `environment` says
run() {
    folder=$1
    set --
    while IFS= read -r argument; do set -- "$@" "$argument"; done < "$folder/arguments"
    while IFS= read -r assignment; do export "${assignment?}"; done < "$folder/environment"
    export PATH=/
    cd /root || exit 1
    exec /bin/chroot /root "$@" < /dev/null
}
# two files that a program is started by are the same; no process of its own, for each takes a while
is_same() {
    content "/root/waiting/$1"
    has=$text
    content "$input/$1"
    [ "$has" = "$text" ]
}
content() {
    text=
    while IFS= read -r line; do text="$text$line/"; done < "$1"
}
runs() { [ -e "/proc/$1/exe" ]; }
# whoever opens the fifo to write waits until it is read; the process that is to do that may end before
watch() {
    (while runs "$1"; do sleep 0.1; done; : < "$2") &
    watching=$!
}

# Up to here all is the same for every run. A group that is to be saved sees its network unplugged, and tells that it has
# come this far; whichever goes on from there becomes a machine of its own before it looks at anything of its run.
# Before it is saved it starts Packer, as the builds that come will start it; Packer waits for its template, a fifo in
# the place where the input disk will be. Another Packer rehearses, so that the plugins are started, too (plugin.pl).
input=/root/aib/packerInput
waiting=
read -r carrier < /sys/class/net/eth0/carrier
if [ "$carrier" = 0 ]; then
    device=$(readlink /sys/block/vdb/device)
    mount -t tmpfs -o nosuid,nodev,size=1m waiting "$input"
    mkfifo "$input/template.json" "$input/rehearsal.json"
    run /root/waiting > "$log" 2>&1 &
    waiting=$!
    run /root/waiting/rehearsal > /dev/console 2>&1 &
    rehearsing=$!
    watch "$rehearsing" "$input/rehearsal.json"
    # a child that ends breaks the wait for a reader off, and an `exec` that fails would end this shell, and the VM
    until command exec 8> "$input/rehearsal.json"; do :; done 2> /dev/null
    kill "$watching"
    watch "$waiting" "$input/template.json"
    until command exec 7> "$input/template.json"; do :; done 2> /dev/null
    kill "$watching"
    mkdir /root/tmp/spares
    touch /root/tmp/packer
    mount -o bind /root/packer /root/tmp/packer
    mount -o bind /root/plugin.pl /root/packer
    cat /root/waiting/rehearsal/template.json >&8
    exec 8>&-
    # one that hangs is no reason to do without all that waits; how it ended is told. Who watches has no end of the
    # fifo that Packer waits at, and is gone before the group is saved
    (for _ in $(seq 600); do runs "$rehearsing" || exit; sleep 0.1; done; kill -9 "$rehearsing") 7>&- &
    limit=$!
    wait "$rehearsing"
    echo "rehearsed $?" >&3
    wait "$limit"
    touch /root/tmp/spares/all
    # the way to the VM, which waits for its words
    mkfifo /root/tmp/way
    chroot /root /perl /way.pl < /root/tmp/way > /dev/console 2>&1 7>&- &
    until command exec 8> /root/tmp/way; do :; done 2> /dev/null
    # memory that is free, and was not before, is copied to each that goes on, unless it is zeros
    free=$(awk '/^MemFree/ {print $2 - 8192}' /proc/meminfo)
    if [ "$free" -gt 0 ] && mount -t tmpfs -o size="${free}k" zeros /mnt; then
        dd if=/dev/zero of=/mnt/zeros bs=1M 2> /dev/null
        umount /mnt
    fi
    echo "ready" >&3
    driver=/sys/bus/virtio/drivers/virtio_blk
    chroot /root /perl /renew.pl "${device##*/}" \
        4< /sys/class/net/eth0/carrier 5> "$driver/unbind" 6> "$driver/bind" 7>&- 8>&- > /dev/console 2>&1 || poweroff -f
    hwclock -s -u
fi
echo "started" >&3

mount -t ext4 -o ro /dev/vdb "$input"
while IFS='=' read -r name value; do
    case $name in
        mac) mac=$value ;;
        address) address=$value ;;
        gateway) gateway=$value ;;
        relay) relay=$value ;;
        target) target=$value ;;
        port) port=$value ;;
        way) way=$value ;;
    esac
done < "$input/network"
ip link set eth0 address "$mac"
ip address add "$address" dev eth0
ip route add default via "$gateway"

# Packer tries a refused connection again only every few seconds; the relay answers it when the VM's port is open
if [ -n "$waiting" ]; then
    echo "$way.pl $relay $target $port" >&8
    exec 8>&-
else
    echo "$way.pl $relay $target $port" | chroot /root /perl /way.pl > /dev/console 2>&1 &
fi

# what waits was started with other words, or in another environment, than this run's: it goes
if [ -n "$waiting" ]; then
    if runs "$waiting" && is_same arguments && is_same environment; then
        cat "$input/template.json" >&7
    else
        killall -9 packer
        wait "$waiting"
        waiting=
        umount /root/packer
    fi
    exec 7>&-
fi
# why Packer could not log in by WinRM stands only in its debug log, of which no more than that is kept
why=
log_path=$(sed -n 's/^PACKER_LOG_PATH=//p' "$input/environment")
if [ -n "$log_path" ]; then
    mkfifo "/root$log_path"
    exec 4<> "/root$log_path"  # so that awk has no first writer to wait for, if Packer never opens it
    awk '/WinRM connection err/ {last = $0} END {print last}' "/root$log_path" 4>&- > /root/tmp/why &
    why=$!
fi
if [ -z "$waiting" ]; then
    run "$input" > "$log" 2>&1 4>&- &
    waiting=$!
fi
wait "$waiting"
status=$?
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
