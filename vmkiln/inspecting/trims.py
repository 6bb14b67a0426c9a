"""What the inspection VM takes away for a faster first boot; images/inspector.pl has the same names, and does it.

A wait for a person at a boot menu, and services for hardware that no VM has, or, of the last one, for snapshots of LVM.
Nothing that a service of the user's may need, that the network, cloud-init or security updates are made of, or that
another hypervisor's drivers come from (docs/decisions/0118).
"""

from collections.abc import Iterable

BOOT_MENU = "boot-menu"
UNITS = (
    "ModemManager.service",
    "alsa-restore.service",
    "alsa-state.service",
    "bluetooth.service",
    "bolt.service",
    "iio-sensor-proxy.service",
    "lm-sensors.service",
    "power-profiles-daemon.service",
    "smartd.service",
    "smartmontools.service",
    "switcheroo-control.service",
    "thermald.service",
    "upower.service",
    "wpa_supplicant.service",
    "e2scrub_reap.service",
)
TRIMS = frozenset({BOOT_MENU, *UNITS})


def in_words(trimmed: Iterable[str]) -> str:
    """What was taken away, for a sentence; pure."""
    found = set(trimmed)
    words = [*(["the boot menu's wait"] if BOOT_MENU in found else []), *sorted(found - {BOOT_MENU})]
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else "".join(words)
