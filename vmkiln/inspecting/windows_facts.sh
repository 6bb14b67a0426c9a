#!/bin/busybox sh
# The first process of the VM that tells facts of a Windows image; it has no network and no disk but the image's.
# Port: inspection.answer. Each fact is a line NAME=VALUE, and the last is `end=`; without it the answer is not whole.
# Files are read by ntfscat, which mounts nothing, and registry hives by hivexsh, both in this VM's memory.
/bin/busybox --install -s /bin
export PATH=/bin LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /etc
ln -s /proc/self/mounts /etc/mtab # where ntfs-3g looks whether a device is mounted
while read -r module; do insmod "/lib/modules/$module"; done < /lib/modules/order

software='\Microsoft\Windows NT\CurrentVersion'
state='\Microsoft\Windows\CurrentVersion\Setup\State'

tell() { printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr -d '\r\n' | head -c 500)"; }

ask() { # ask HIVE COMMAND...: what hivexsh says; nothing where the hive has no such key or value
    hive=$1
    shift
    printf '%s\n' "$@" > /tmp/question
    hivexsh -f /tmp/question "/tmp/$hive" 2> /dev/null
}

read_file() { ntfscat -f "$1" "$2" 2> /dev/null; }

look() {
    device=$1
    read_file "$device" Windows/System32/config/SOFTWARE | head -c 536870912 > /tmp/SOFTWARE
    [ -s /tmp/SOFTWARE ] || return 0
    tell device "${device##*/}"
    tell flags "$(ntfsinfo -f -m "$device" 2> /dev/null | sed -n 's/^.*Volume Flags: *//p')"
    # ntfscat says its reason when it will not read what is not whole
    if ! ntfscat "$device" Windows/System32/config/SYSTEM > /tmp/SYSTEM 2> /tmp/reason; then
        tell unclean "$(head -n 1 /tmp/reason)"
    fi
    tell hibernation "$(read_file "$device" hiberfil.sys | head -c 4 | tr -cd 'A-Za-z')"
    for name in ProductName CurrentBuildNumber UBR EditionID InstallationType; do
        tell "$name" "$(ask SOFTWARE "cd $software" "lsval $name")"
    done
    tell ImageState "$(ask SOFTWARE "cd $state" 'lsval ImageState')"
    rm /tmp/SOFTWARE
    [ -s /tmp/SYSTEM ] || read_file "$device" Windows/System32/config/SYSTEM | head -c 268435456 > /tmp/SYSTEM
    number=$(ask SYSTEM 'cd \Select' 'lsval Current')
    set=$(printf 'ControlSet%03d' "$number")
    tell InstallLanguage "$(ask SYSTEM "cd \\$set\\Control\\Nls\\Language" 'lsval InstallLanguage')"
    for service in viostor netkvm cloudbase-init RdAgent; do
        if ask SYSTEM "cd \\$set\\Services\\$service" > /dev/null; then tell service "$service"; fi
    done
    # what a machine of Azure's or of Hyper-V's has left: on another bus it stops with 0x7B
    for service in storahci stornvme intelide atapi pci; do
        if [ "$(ask SYSTEM "cd \\$set\\Services\\$service\\StartOverride" 'lsval 0')" = 3 ]; then tell override "$service"; fi
    done
    for place in Panther/unattend.xml Panther/Unattend/unattend.xml System32/Sysprep/unattend.xml; do
        if [ -n "$(read_file "$device" "Windows/$place" | head -c 1)" ]; then tell answer "$place"; fi
    done
    rm /tmp/SYSTEM
}

# the driver's ports come one by one, some time after the driver
for _ in $(seq 300); do
    for port in /sys/class/virtio-ports/*; do
        if [ "$(cat "$port/name" 2> /dev/null)" = inspection.answer ]; then
            {
                for block in /sys/class/block/vd*; do
                    device=/dev/${block##*/}
                    [ "$(dd if="$device" bs=1 skip=3 count=4 2> /dev/null)" = NTFS ] && look "$device"
                done
                tell end ''
            } > "/dev/${port##*/}" 2> /dev/console < /dev/null
            sync
            poweroff -f
        fi
    done
    sleep 0.1
done
poweroff -f
