#!/bin/busybox sh
# The first process of the VM that looks at a Windows image; it has no network and no disk but the image's.
# Port: inspection.answer. Each line is NAME=VALUE, and the last is `end=`; without it the answer is not whole.
# What it does is in `vmkiln.work`: tell facts of the image, tell what a build left in it, or take out of a throw-away
# copy what keeps a build from beginning. Only the last writes to the disk (windows_look.sh).
/bin/busybox --install -s /bin
export PATH=/bin LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /etc
ln -s /proc/self/mounts /etc/mtab # where ntfs-3g looks whether a device is mounted
while read -r module; do insmod "/lib/modules/$module"; done < /lib/modules/order

work=/tmp
. /windows_look.sh

facts() {
    device=$1
    place=$(at "$device" Windows/System32/config/SOFTWARE) || return 0
    read_file "$device" "$place" | head -c "$most_hive" > /tmp/SOFTWARE
    [ -s /tmp/SOFTWARE ] || return 0
    tell device "${device##*/}"
    tell flags "$(ntfsinfo -f -m "$device" 2> /dev/null | sed -n 's/^.*Volume Flags: *//p')"
    # ntfscat says its reason when it will not read what is not whole
    place=$(at "$device" Windows/System32/config/SYSTEM)
    if ! ntfscat "$device" "$place" > /tmp/SYSTEM 2> /tmp/reason; then
        tell unclean "$(head -n 1 /tmp/reason)"
    fi
    tell hibernation "$(read_file "$device" "$(at "$device" hiberfil.sys)" | head -c 4 | tr -cd 'A-Za-z')"
    for name in ProductName CurrentBuildNumber UBR EditionID InstallationType; do
        tell "$name" "$(ask SOFTWARE "cd $software" "lsval $name")"
    done
    tell ImageState "$(ask SOFTWARE "cd $state" 'lsval ImageState')"
    rm /tmp/SOFTWARE
    [ -s /tmp/SYSTEM ] || read_file "$device" "$place" | head -c "$most_hive" > /tmp/SYSTEM
    set=$(control_set)
    tell InstallLanguage "$(ask SYSTEM "cd \\$set\\Control\\Nls\\Language" 'lsval InstallLanguage')"
    for service in viostor netkvm cloudbase-init RdAgent; do
        if ask SYSTEM "cd \\$set\\Services\\$service" > /dev/null; then tell service "$service"; fi
    done
    # what a machine of Azure's or of Hyper-V's has left: on another bus it stops with 0x7B
    overrides | while read -r service; do tell override "$service"; done
    {
        winning_answers "$device"
        matching "$device" Windows/System32/Sysprep '^(auto)?unattend\.xml$'
    } | while read -r place; do tell answer "${place#*/}"; done
    rm /tmp/SYSTEM
}

look=facts
for word in $(cat /proc/cmdline); do
    case "$word" in
        vmkiln.work=residues) look=residues ;;
        vmkiln.work=take-out)
            look=take_out
            while read -r module; do insmod "/lib/modules/$module"; done < /lib/modules/order.fuse
            ;;
    esac
done
# the driver's ports come one by one, some time after the driver
for _ in $(seq 300); do
    for port in /sys/class/virtio-ports/*; do
        if [ "$(cat "$port/name" 2> /dev/null)" = inspection.answer ]; then
            {
                for block in /sys/class/block/vd*; do
                    device=/dev/${block##*/}
                    case $(dd if="$device" bs=1 skip=3 count=8 2> /dev/null | tr -cd 'A-Z-') in
                        NTFS*)
                            rm -f /tmp/names.*
                            "$look" "$device"
                            ;;
                        -FVE-FS-) [ "$look" = facts ] || unread "${device##*/}: BitLocker has encrypted it" ;;
                    esac
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
