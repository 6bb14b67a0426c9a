#!/bin/sh
# Runs outside the new root file system, which is $1, as its root; makes it a machine image.
# VMKILN_GENERATION is 1 (BIOS) or 2 (UEFI); VMKILN_ROOT_UUID and VMKILN_ESP_ID name its future file systems;
# VMKILN_ARCHITECTURE is Debian's word for its CPU.
# What belongs beside the root file system (boot loader, dates of the package lists) is left in $1/.beside.
set -eu
root=$1
beside=$root/.beside
console=ttyS0,115200 modules="ahci ata_piix" efi=x64 grub=x86_64-efi
if [ "$VMKILN_ARCHITECTURE" = arm64 ]; then
    console=ttyAMA0 modules=ahci efi=aa64 grub=arm64-efi
fi
mkdir "$beside"
grep -h '^Date: ' "$root"/var/lib/apt/lists/*_InRelease > "$beside/dates"

# the root partition grows at every start when the disk has grown, then its file system
cat > "$root/etc/fstab" << END
UUID=$VMKILN_ROOT_UUID / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1
END
if [ "$VMKILN_GENERATION" = 2 ]; then
    # mounted when a boot loader's update looks for it
    echo "UUID=$VMKILN_ESP_ID /boot/efi vfat umask=0077,noauto,x-systemd.automount,x-systemd.idle-timeout=1min 0 0" \
        >> "$root/etc/fstab"
fi
mkdir -p "$root/etc/grow-root-partition.d"
printf '[Partition]\nType=root\n' > "$root/etc/grow-root-partition.d/root.conf"
# systemd-repart.service would first load modules for things that are not here
cat > "$root/etc/systemd/system/grow-root-partition.service" << END
[Unit]
Description=Grow the root partition to the disk's end
DefaultDependencies=no
After=systemd-remount-fs.service
Before=systemd-growfs-root.service systemd-growfs@-.service local-fs.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart=/usr/bin/systemd-repart --dry-run=no --definitions=/etc/grow-root-partition.d
# 77: nothing to do that it could do
SuccessExitStatus=77

[Install]
WantedBy=local-fs.target
END
chroot "$root" systemctl enable --quiet grow-root-partition.service
# an image has one root, found by its UUID: no hibernation, no verified or integrity-protected disks, no guessing
mkdir -p "$root/etc/systemd/system-generators"
for generator in gpt-auto hibernate-resume integritysetup veritysetup; do
    ln -s /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
done
# a graphics driver loads its own modules; logins need none
chroot "$root" systemctl mask --quiet modprobe@drm.service
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
# done by grow-root-partition.service and systemd-growfs
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
manual_add_modules virtio_pci virtio_blk virtio_scsi nvme $modules sd_mod hv_vmbus hv_storvsc pci_hyperv ext4
END
chmod 0755 "$root/etc/initramfs-tools/hooks/machine-image"
if [ "$VMKILN_ARCHITECTURE" = arm64 ]; then # none was made yet: INITRD=No
    chroot "$root" update-initramfs -c -k all
    [ -e "$root/initrd.img" ] || ln -sf "$(cd "$root" && echo boot/initrd.img-*)" "$root/initrd.img"
else
    chroot "$root" update-initramfs -u -k all
fi

# the boot loader's settings, for update-grub in the running machine
cat > "$root/etc/default/grub" << END
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=tty0 console=$console consoleblank=0"
GRUB_DISABLE_OS_PROBER=true
END
if [ "$VMKILN_GENERATION" = 1 ]; then # UEFI firmware has the serial line in its own console
    printf 'GRUB_TERMINAL="console serial"\nGRUB_SERIAL_COMMAND="serial --speed=115200"\n' >> "$root/etc/default/grub"
fi
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
linux /vmlinuz root=UUID=$VMKILN_ROOT_UUID ro console=tty0 console=$console consoleblank=0
initrd /initrd.img
boot
END
cat > "$beside/early.cfg" << END
search.fs_uuid $VMKILN_ROOT_UUID root
set prefix=(\$root)/boot/grub
END
if [ "$VMKILN_GENERATION" = 1 ]; then
    cp -r "$root/usr/lib/grub/i386-pc" "$root/boot/grub/"
    cp "$root/usr/lib/grub/i386-pc/boot.img" "$beside/"
    chroot "$root" grub-mkimage -O i386-pc -p /boot/grub -c /.beside/early.cfg -o /.beside/core.img \
        biosdisk part_gpt ext2 search search_fs_uuid normal linux configfile test echo minicmd gzio
else
    # Debian's own signed chain, so that Secure Boot may stay on: shim loads GRUB, which looks in EFI/debian
    cp -r "$root/usr/lib/grub/$grub" "$root/boot/grub/"
    mkdir -p "$root/boot/efi" "$beside/esp/EFI/BOOT" "$beside/esp/EFI/debian"
    cp "$root/usr/lib/shim/shim$efi.efi.signed" "$beside/esp/EFI/BOOT/BOOT$(echo $efi | tr '[:lower:]' '[:upper:]').EFI"
    cp "$root/usr/lib/grub/$grub-signed/grub$efi.efi.signed" "$beside/esp/EFI/BOOT/grub$efi.efi"
    # shellcheck disable=SC2016 # GRUB's variable, not the shell's
    { cat "$beside/early.cfg"; echo 'configfile $prefix/grub.cfg'; } > "$beside/esp/EFI/debian/grub.cfg"
    printf "%s grub2/force_efi_extra_removable boolean true\n%s grub2/update_nvram boolean false\n" \
        "grub-efi-$VMKILN_ARCHITECTURE" "grub-efi-$VMKILN_ARCHITECTURE" | chroot "$root" debconf-set-selections
fi
rm "$beside/early.cfg"

# belongs to nobody yet
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
: > "$root/etc/machine-id" # empty, not "uninitialized": else the first start sets up every unit anew
rm -f "$root/etc/resolv.conf"
ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
find "$root/var/log" -type f -exec truncate -s 0 {} +
