"""The container image: modules load in an order that works."""

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.images.container_image import module_load_order

DEPENDENCIES = """\
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
"""


def test_dependencies_load_first_and_once() -> None:
    order = module_load_order(DEPENDENCIES, ["virtio_pci", "virtio_rng"], builtin="kernel/fs/ext4/ext4.ko\n")
    assert [file.rsplit("/", 1)[1] for file in order] == [
        "virtio_ring.ko",
        "virtio.ko",
        "virtio_pci.ko.xz",
        "virtio-rng.ko",
    ]


def test_a_built_in_module_is_skipped() -> None:
    assert module_load_order(DEPENDENCIES, ["ext4"], builtin="kernel/fs/ext4/ext4.ko\n") == []


def test_a_missing_module_is_named() -> None:
    with pytest.raises(HostUnfit, match="squashfs"):
        module_load_order(DEPENDENCIES, ["squashfs"], builtin="")
