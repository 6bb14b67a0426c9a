#!/bin/sh
# Runs outside the new root file system, which is $1, as its root; makes it a machine image.
# VMKILN_GENERATION is 1 (BIOS) or 2 (UEFI), VMKILN_ROOT_UUID the UUID its root file system will have.
set -eu
root=$1

# the root partition grows at every start when the disk has grown, then its file system
cat > "$root/etc/fstab" << END
UUID=$VMKILN_ROOT_UUID / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1
END
mkdir -p "$root/etc/repart.d"
printf '[Partition]\nType=root\n' > "$root/etc/repart.d/50-root.conf"
echo localhost > "$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"
echo LANG=C.UTF-8 > "$root/etc/default/locale"

# who may log in and what the address is comes from the machine's first configuration
mkdir -p "$root/etc/cloud/cloud.cfg.d"
cat > "$root/etc/cloud/cloud.cfg.d/90-datasources.cfg" << END
datasource_list: [NoCloud, Azure, None]
END
# no search by shell script before the real one
echo 'policy: enabled' > "$root/etc/cloud/ds-identify.cfg"
cat > "$root/etc/cloud/cloud.cfg.d/91-machine.cfg" << END
system_info:
  network:
    renderers: [netplan]
# done by systemd-repart and systemd-growfs
growpart: {mode: "off"}
resize_rootfs: false
# the boot loader was not put there by Debian's package scripts, and the sources are right as they are
grub_dpkg: {enabled: false}
apt: {preserve_sources_list: true}
ssh: {emit_keys_to_console: false}
END
chroot "$root" systemctl enable --quiet systemd-networkd.service systemd-resolved.service
# nothing here has LVM snapshots to check
chroot "$root" systemctl disable --quiet e2scrub_reap.service e2scrub_all.timer 2> /dev/null || true

# what a root disk needs on QEMU, Hyper-V and Azure, and nothing else: a third of the usual size
cat > "$root/etc/initramfs-tools/conf.d/machine-image" << END
MODULES=list
COMPRESS=zstd
END
cat > "$root/etc/initramfs-tools/hooks/machine-image" << END
#!/bin/sh
[ "\$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_pci virtio_blk virtio_scsi nvme ahci ata_piix sd_mod hv_vmbus hv_storvsc pci_hyperv ext4
END
chmod 0755 "$root/etc/initramfs-tools/hooks/machine-image"
chroot "$root" update-initramfs -u -k all

# the boot loader's settings, for update-grub in the running machine
cat > "$root/etc/default/grub" << END
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200 consoleblank=0"
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --speed=115200"
GRUB_DISABLE_OS_PROBER=true
END
if [ ! -e "$root/etc/kernel/postinst.d/zz-update-grub" ]; then
    for when in postinst postrm; do
        mkdir -p "$root/etc/kernel/$when.d"
        printf '#!/bin/sh\nset -e\ncommand -v update-grub > /dev/null || exit 0\nexec update-grub\n' \
            > "$root/etc/kernel/$when.d/zz-update-grub"
        chmod 0755 "$root/etc/kernel/$when.d/zz-update-grub"
    done
fi
mkdir -p "$root/boot/grub"
cat > "$root/boot/grub/grub.cfg" << END
# replaced by update-grub when a kernel is installed
set timeout=0
set root=
search --no-floppy --fs-uuid --set=root $VMKILN_ROOT_UUID
linux /vmlinuz root=UUID=$VMKILN_ROOT_UUID ro console=tty0 console=ttyS0,115200 consoleblank=0
initrd /initrd.img
boot
END
cat > "$root/boot/grub/early.cfg" << END
search.fs_uuid $VMKILN_ROOT_UUID root
set prefix=(\$root)/boot/grub
END
# shellcheck disable=SC2086 # a list of words
modules="part_gpt ext2 search search_fs_uuid normal linux configfile test echo minicmd gzio"
if [ "$VMKILN_GENERATION" = 1 ]; then
    platform=i386-pc
    cp -r "$root/usr/lib/grub/$platform" "$root/boot/grub/"
    chroot "$root" grub-mkimage -O "$platform" -p /boot/grub -c /boot/grub/early.cfg -o /boot/grub/core.img \
        biosdisk $modules
else
    platform=x86_64-efi
    cp -r "$root/usr/lib/grub/$platform" "$root/boot/grub/"
    chroot "$root" grub-mkimage -O "$platform" -p /boot/grub -c /boot/grub/early.cfg -o /boot/grub/BOOTX64.EFI $modules
    mkdir -p "$root/boot/efi"
fi
rm "$root/boot/grub/early.cfg"

# belongs to nobody yet
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
: > "$root/etc/machine-id" # empty, not "uninitialized": else the first start sets up every unit anew
rm -f "$root/etc/resolv.conf"
ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
find "$root/var/log" -type f -exec truncate -s 0 {} +
