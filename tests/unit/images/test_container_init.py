"""The container group's first process, as far as it can be tried outside of it."""

import re
import subprocess
import threading
from pathlib import Path

from vmkiln.images import container_image

SCRIPT = Path(container_image.__file__).with_name("container_init.sh")


def test_a_port_that_comes_after_its_driver_is_waited_for(tmp_path: Path) -> None:
    function = re.search(r"^port_of\(\) \{.*?^\}", SCRIPT.read_text(), re.MULTILINE | re.DOTALL)
    assert function is not None
    text = function[0].replace("/sys/class/virtio-ports", str(tmp_path))
    (tmp_path / "vport1p1").mkdir()
    (tmp_path / "vport1p1/name").write_text("events\n")
    (tmp_path / "vport1p2").mkdir()  # it is there, and has no name yet

    def name_it() -> None:
        (tmp_path / "vport1p2/name").write_text("log\n")

    naming = threading.Timer(0.5, name_it)
    naming.start()
    command = ["busybox", "sh", "-c", f"{text}\nport_of log\nport_of events"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    naming.join()
    assert done.stdout.split() == ["/dev/vport1p2", "/dev/vport1p1"]
