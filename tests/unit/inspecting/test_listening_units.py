"""The sockets that systemd listens on are read from unit files as systemd reads them."""

from vmkiln.inspecting.disk_contents import DiskContents, Entry, Volume
from vmkiln.inspecting.listening_units import MOST_ADDRESSES, MOST_UNIT_BYTES, TOO_LARGE, listening_units

OWN, DISTRIBUTIONS = "etc/systemd/system", "usr/lib/systemd/system"


def listening(files: dict[str, str], links: dict[str, str]) -> dict[str, str]:
    contents = {path.encode(): text.encode() for path, text in files.items()} | {b"etc/os-release": b"ID=x"}
    entries = [Entry(path, 0o100644, 0, 0, len(content)) for path, content in contents.items()]
    entries += [Entry(path.encode(), 0o120777, 0, 0, 9, target.encode()) for path, target in links.items()]
    return listening_units(DiskContents((), (Volume("os1", "ext4", 1, 1, "", "", "", tuple(entries), contents),)))


def wanted(*names: str, folder: str = OWN) -> dict[str, str]:
    return {f"{folder}/sockets.target.wants/{name}": f"/lib/systemd/system/{name}" for name in names}


def test_an_enabled_socket_is_told_with_its_addresses() -> None:
    web = "[Unit]\nListenStream=1\n[Socket]\n# ListenStream=2\nListenStream = 80\nListenDatagram=\\\n53\n"
    files = {f"{DISTRIBUTIONS}/web.socket": web, f"{DISTRIBUTIONS}/idle.socket": "[Socket]\nListenStream=9\n"}
    assert listening(files, wanted("web.socket")) == {"web.socket": "stream 80, datagram 53"}


def test_a_socket_that_the_distribution_itself_enables_is_told() -> None:
    files = {f"{DISTRIBUTIONS}/bus.socket": "[Socket]\nListenStream=/run/bus\n"}
    assert listening(files, wanted("bus.socket", folder=DISTRIBUTIONS)) == {"bus.socket": "stream /run/bus"}


def test_what_the_administrator_wrote_comes_before_the_distribution() -> None:
    files = {
        f"{DISTRIBUTIONS}/web.socket": "[Socket]\nListenStream=80\n",
        f"{OWN}/web.socket": "[Socket]\nListenFIFO=/p\n",
    }
    assert listening(files, wanted("web.socket")) == {"web.socket": "fifo /p"}


def test_a_drop_in_adds_addresses_and_an_empty_one_takes_back_all() -> None:
    files = {
        f"{DISTRIBUTIONS}/ssh.socket": "[Socket]\nListenStream=22\n",
        f"{OWN}/ssh.socket.d/b.conf": "[Socket]\nListenStream=443\n",
        f"{OWN}/ssh.socket.d/a.conf": "[Socket]\nListenStream=\nListenStream=2222\n",
    }
    assert listening(files, wanted("ssh.socket")) == {"ssh.socket": "stream 2222, stream 443"}


def test_a_masked_socket_does_not_listen_and_an_alias_is_its_units() -> None:
    files = {f"{DISTRIBUTIONS}/web.socket": "[Socket]\nListenStream=80\n"}
    assert listening(files, wanted("web.socket") | {f"{OWN}/web.socket": "/dev/null"}) == {}
    alias = {f"{OWN}/other.socket": "/usr/lib/systemd/system/web.socket"}
    assert listening(files, wanted("other.socket") | alias) == {"other.socket": "stream 80"}


def test_an_instance_has_the_addresses_of_its_template() -> None:
    files = {f"{DISTRIBUTIONS}/web@.socket": "[Socket]\nListenStream=/run/%i\n"}
    assert listening(files, wanted("web@a.socket", "none@a.socket")) == {"web@a.socket": "stream /run/%i"}


def test_of_a_unit_that_is_too_large_only_that_is_told() -> None:
    line = "ListenStream=1\n"
    files = {f"{OWN}/large@.socket": "[Socket]\n" + line * (4 * 1024**2), f"{OWN}/web.socket": "[Socket]\n" + line}
    files[f"{OWN}/web.socket.d/a.conf"] = " " * MOST_UNIT_BYTES
    names = [f"large@{number}.socket" for number in range(1000)]
    assert listening(files, wanted(*names)) == dict.fromkeys(names, TOO_LARGE)
    assert listening(files, wanted("web.socket")) == {"web.socket": TOO_LARGE}


def test_of_very_many_addresses_the_first_are_told() -> None:
    files = {f"{OWN}/web.socket": "[Socket]\n" + "ListenStream=1\n" * (MOST_ADDRESSES + 2)}
    assert listening(files, wanted("web.socket"))["web.socket"].endswith("stream 1, and 2 more")


def test_a_link_of_the_distributions_hides_no_unit_of_the_administrators() -> None:
    files = {f"{OWN}/{name}.socket": "[Socket]\nListenStream=80\n" for name in ("web", "other")}
    links = {f"{DISTRIBUTIONS}/web.socket": "/dev/null", f"{DISTRIBUTIONS}/other.socket": "third.socket"}
    told = listening(files, wanted("web.socket", "other.socket") | links)
    assert told == {"other.socket": "stream 80", "web.socket": "stream 80"}
