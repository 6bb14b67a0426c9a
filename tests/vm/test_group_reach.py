"""The container group, tried from inside by something that wants out.

The same VM, kernel, devices and network as in a build; only its first process is another one, which probes instead of
starting Packer. A stand-in listens where the build VM would be, so that the one open port is seen to be open.
"""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vmkiln.host import namespace
from vmkiln.host.disk.ext4_image import make_ext4
from vmkiln.host.disk.initramfs import EXECUTABLE, Entry, archive
from vmkiln.host.network import host_watch, network_setup
from vmkiln.host.virtual_machine import bind_run_directory
from vmkiln.preparation import opened_store, prepared_host
from vmkiln.settings import Settings
from vmkiln.staging import container_group, virtual_network

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("world")]

PROBES = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read -r module; do insmod "/lib/modules/$module"; done < /lib/modules/order
port_of() { for port in /sys/class/virtio-ports/*; do [ "$(cat "$port/name")" = "$1" ] && echo "/dev/${port##*/}"; done; }
exec > "$(port_of packerizercontainer.log)" 2>&1
ip link set lo up; ip link set eth0 up
ip address add 10.0.0.4/24 dev eth0; ip route add default via 10.0.0.1
probe() { if nc -w 2 "$2" "$3" -e /bin/true < /dev/null 2> /dev/null; then echo "probe $1 open"; else echo "probe $1 closed"; fi; }
probe build-vm-ssh 10.0.1.4 22
probe build-vm-other-port 10.0.1.4 80
probe router 10.0.0.1 22
probe router-other-side 10.0.1.1 22
probe host-lan @LAN@ @PORT@
probe gateway-as-loopback 10.0.2.1 @PORT@
probe loopback 127.0.0.1 @PORT@
probe metadata 169.254.169.254 80
probe names 10.0.2.53 53
probe internet 203.0.113.80 80
probe internet-by-name-server 1.1.1.1 443
ls /sys/class/net | tr '\\n' ' ' | sed 's/^/interfaces /'; echo
ls /sys/class/virtio-ports | wc -l | sed 's/^/ports /'
ls /sys/bus/pci/devices | wc -l | sed 's/^/pci /'
echo "exited 0" > "$(port_of packerizercontainer.events)"
poweroff -f
"""


@pytest.fixture
def host_listener() -> Iterator[tuple[str, int]]:
    """Something alive on every address of this host, that the container group must not reach."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        is_over = threading.Event()
        listener.settimeout(0.2)

        def accept() -> None:
            while not is_over.is_set():
                try:
                    listener.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.254", 9))
            lan = str(probe.getsockname()[0])
        port = int(listener.getsockname()[1])
        socket.create_connection((lan, port), timeout=5).close()
        yield lan, port
        is_over.set()
        thread.join()


def probe_from_inside(prepared: Settings, directory: Path, *, lan: str, port: int) -> str:
    """What the probing program printed."""
    printed = bytearray()

    async def work() -> None:
        with opened_store(prepared, print) as store:
            async with prepared_host(prepared, store, print) as host:
                script = PROBES.replace("@LAN@", lan).replace("@PORT@", str(port))
                # a later archive replaces files of an earlier one
                override = archive([Entry("init", EXECUTABLE, script.encode())])
                initramfs = directory / "initramfs"
                initramfs.write_bytes(host.container_image.initramfs.read_bytes() + override)
                empty = directory / "empty"
                empty.mkdir()
                await make_ext4(directory / "input.ext4", empty)
                group = container_group.ContainerGroup(
                    kernel=host.container_image.kernel,
                    initramfs=initramfs,
                    image_disk=host.container_image.disk,
                    input_disk=directory / "input.ext4",
                    accelerator=host.accelerator,
                )
                net = virtual_network.decide(await host_watch.host_addresses(), is_windows=False)
                machine = replace(container_group.describe(group, net, name="container-group"))
                async with namespace.opened() as inside, network_setup.joined(inside, net.network):
                    await bind_run_directory(inside, directory)
                    for command in stand_in_commands(net):
                        await inside.run(command.split())
                    serve = (
                        "import socket,time\ns=socket.create_server(('0.0.0.0',22))\nwhile True: s.accept()[0].close()"
                    )
                    listen = ["ip", "netns", "exec", "build", "python3", "-c", serve]
                    async with (
                        inside.start("stand-in", listen),
                        container_group.started(
                            inside, machine, directory=directory, on_output=printed.extend
                        ) as instance,
                    ):
                        assert await asyncio.wait_for(container_group.finished(instance), 180) == 0

    asyncio.run(work())
    return printed.decode(errors="replace")


def stand_in_commands(net: virtual_network.VirtualNetwork) -> list[str]:
    """A network namespace in the place of the build VM, with its addresses."""
    subnet, bridge = net.build_vm_subnet, net.network.far.bridge
    return [
        "ip netns add build",
        "ip link add outer type veth peer name inner",
        f"ip link set outer master {bridge} up",
        f"ip link set inner netns build address {subnet.mac}",
        f"ip -n build address add {subnet.address_with_prefix} dev inner",
        "ip -n build link set inner up",
        "ip -n build link set lo up",
        f"ip -n build route add default via {subnet.router}",
    ]


def test_the_container_group_reaches_ssh_on_the_build_vm_and_nothing_else(
    prepared: Settings, tmp_path: Path, host_listener: tuple[str, int]
) -> None:
    lan, port = host_listener
    text = probe_from_inside(prepared, tmp_path, lan=lan, port=port)
    found = dict(re.findall(r"probe (\S+) (open|closed)", text))
    assert found.pop("build-vm-ssh") == "open", "the probe itself must work"
    assert len(found) == 10
    assert {name for name, state in found.items() if state == "open"} == set()
    assert "interfaces eth0 lo" in text
    assert "ports 2" in text
