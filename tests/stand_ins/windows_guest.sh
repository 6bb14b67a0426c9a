#!/bin/busybox sh
# The first process of a Linux that plays Windows in a VM. It finds its disk and its discs where Windows finds them, and
# asks for its address; windows_guest.py does the rest.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec > /dev/console 2>&1
while read -r module; do insmod "/lib/modules/$module"; done < /lib/modules/order
for _ in $(seq 300); do [ -b /dev/sda2 ] && [ -b /dev/sr0 ] && [ -d /sys/class/net/eth0 ] && break; sleep 0.1; done
mkdir -p /state /discs
mount -t ext4 /dev/sda2 /state || poweroff -f
for disc in /dev/sr*; do
    mkdir "/discs/${disc##*/}" && mount -t iso9660 -o ro "$disc" "/discs/${disc##*/}"
done
stty -F /dev/ttyS1 raw
ip link set lo up
ip link set eth0 up
cat > /given << 'EOS'
#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ip address add "$ip/$mask" dev "$interface"
ip route add default via "$router"
echo "$ip/$mask $router $dns $lease" > /address
EOS
chmod 0755 /given
udhcpc -i eth0 -n -q -t 20 -T 2 -s /given
@PYTHON@ -I -S /windows_guest.py
echo "the guest's program ended with $?"
sync
poweroff -f
