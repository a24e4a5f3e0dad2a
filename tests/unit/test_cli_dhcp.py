"""``bootserver dhcp`` and ``dhcp-event``: entries for a site's server, each read by that server's own check."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bootserver.errors import Unavailable
from bootserver.netboot.dhcp_events.hosts import Host, hosts
from bootserver.netboot.dhcp_events.sighting import Program, Sighting, What, decode
from bootserver.service import hook_socket
from bootserver.service.dnsmasq_hosts import HostsFolder, hang_up
from bootserver.values.mac import MacAddress
from tests import views
from tests.administrator import Administrator

CHECKS = {
    "dnsmasq": ("dnsmasq-base", ["dnsmasq", "--test", "--conf-file={file}"]),
    "kea": ("kea-dhcp4-server", ["kea-dhcp4", "-t", "{file}"]),
    "isc": ("isc-dhcp-server", ["dhcpd", "-t", "-cf", "{file}"]),
}


@pytest.fixture
def admin(tmp_path: Path, template: Path) -> Administrator:
    made = Administrator(tmp_path, template)
    made.does("node", "add", "--mac", "52:54:00:00:00:01", "--ip", "10.1.0.5")
    made.does("node", "add", "--mac", "52:54:00:00:00:02", "--ip", "10.1.0.6")
    made.does("node", "add", "--appliance", "switch", "--mac", "52:54:00:00:00:03", "--ip", "10.1.0.7")
    made.does("attr", "set", "loader", "ipxe", "compute-0-1")
    return made


@pytest.mark.parametrize("server", CHECKS)
def test_what_is_exported_is_right_by_the_servers_own_check(admin: Administrator, tmp_path: Path, server: str) -> None:
    package, command = CHECKS[server]
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs: apt-get install {package}")
    text = admin.does("dhcp", "export", "--format", server)
    for expected in ("52:54:00:00:00:01", "10.1.0.6", "compute-0-1", "10.1.1.1", "pxelinux.0", "shimx64.efi", "snponly.efi"):
        assert expected in text
    assert "http://10.1.1.1/ipxe/efi/01-${netX/mac:hexhyp}" in text
    file = tmp_path / "exported"
    file.write_text(text)
    environment = {**os.environ, "KEA_LOCKFILE_DIR": str(tmp_path), "LC_ALL": "C"}
    done = subprocess.run([each.format(file=file) for each in command], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    file.write_text(f"{text}nonsense {{\n")
    wrong = subprocess.run([each.format(file=file) for each in command], capture_output=True, text=True, env=environment)
    assert wrong.returncode != 0  # it does look


def test_what_boots_nothing_has_an_address_and_no_boot_file(admin: Administrator) -> None:
    switch = next(line for line in admin.does("dhcp", "export", "--format", "dnsmasq").splitlines() if "10.1.0.7" in line)
    assert switch.startswith("dhcp-host=52:54:00:00:00:03,10.1.0.7,")
    entries = json.loads(admin.does("dhcp", "export", "--format", "kea", "--part", "hosts"))
    assert [entry.get("client-classes") for entry in entries] == [["bootserver-auto-private"], ["bootserver-ipxe-private"], None]


def test_parts_are_printed_alone(admin: Administrator) -> None:
    boot = admin.does("dhcp", "export", "--format", "dnsmasq", "--part", "boot")
    entries = admin.does("dhcp", "export", "--format", "dnsmasq", "--part", "hosts")
    assert "dhcp-host" not in boot
    assert {line.partition("=")[0] for line in entries.splitlines()} == {"dhcp-host"}
    # Entries in a hostsdir set no tags: who is not of the first group is named by its MAC.
    assert "dhcp-mac=set:bootserver-ipxe-private,52:54:00:00:00:02" in boot
    assert "dhcp-mac=set:bootserver-none,52:54:00:00:00:03" in boot
    first = "tag:known,tag:!bootserver-ipxe-private,tag:!bootserver-none,tag:bootserver-bios,tag:!bootserver-ipxe"
    assert f"dhcp-boot={first},pxelinux.0,,10.1.1.1" in boot
    assert "leave out --part" in admin.fails("dhcp", "export", "--format", "isc", "--part", "hosts", status=2)


def test_without_a_folder_sync_says_what_to_set(admin: Administrator) -> None:
    assert "set dhcp.hostsdir in" in admin.fails("dhcp", "sync")


def test_further_interfaces_have_entries_by_their_own_names() -> None:
    view = views.view([views.node()], networks=[views.network()])
    (found,) = hosts(view).hosts
    assert found == Host("compute-0-0", views.MAC, found.address, "compute-0-0", found.group)


def test_an_interface_without_an_address_is_told_of_and_has_no_entry() -> None:
    found = hosts(views.view([views.node(ip=None)]))
    assert found.hosts == ()
    assert found.troubles == ("compute-0-0 eth0 has no address, so no entry",)


# -- dnsmasq's folder -----------------------------------------------------------------------------------------------------


def entries(*numbers: int) -> tuple[Host, ...]:
    nodes = [views.node(each, mac=MacAddress((0x525400000000 + each).to_bytes(6)), ip=f"10.1.0.{each}") for each in numbers]
    return hosts(views.view(nodes)).hosts


def test_files_are_written_changed_and_removed_and_only_ours(tmp_path: Path) -> None:
    (tmp_path / "printer").write_text("x")
    folder = HostsFolder(tmp_path)
    done = folder.show(entries(1, 2))
    assert (done.added, done.changed, done.removed, done.wants_hangup) == (2, 0, 0, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bootserver.compute-0-1", "bootserver.compute-0-2", "printer"]
    (tmp_path / "bootserver.compute-0-1").write_text("old\n")
    done = HostsFolder(tmp_path).show(entries(1))
    assert (done.added, done.changed, done.removed, done.wants_hangup) == (0, 1, 1, True)
    assert (tmp_path / "bootserver.compute-0-1").read_text() == "52:54:00:00:00:01,10.1.0.1,compute-0-1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bootserver.compute-0-1", "printer"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "hosts"
    outside.write_text("precious")
    folder.mkdir()
    (folder / "bootserver.compute-0-1").symlink_to(outside)
    (folder / ".bootserver.compute-0-1.new").symlink_to(outside)
    HostsFolder(folder).show(entries(1))
    assert outside.read_text() == "precious"
    assert not (folder / "bootserver.compute-0-1").is_symlink()


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="dhcp sync"):
        HostsFolder(tmp_path / "none").show(entries(1))


@pytest.mark.parametrize("text", ["", "x", "0", "1", "-7", "99999999", "12 13"])
def test_a_pid_file_with_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    with pytest.raises(Unavailable, match="was not told"):
        hang_up(tmp_path / "pid")


def test_another_program_is_never_signalled(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "30"])
    try:
        (tmp_path / "pid").write_text(f"{sleeper.pid}\n")
        with pytest.raises(Unavailable, match="is another program"):
            hang_up(tmp_path / "pid")
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
    with pytest.raises(Unavailable, match="no process has the id"):
        hang_up(tmp_path / "pid")


# -- dhcp-event -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def listener(admin: Administrator) -> socket.socket:
    folder = admin.config.frontend.run
    folder.mkdir()
    return hook_socket.listen(folder, "no-such-group")


def test_an_event_is_handed_to_the_service(admin: Administrator, listener: socket.socket) -> None:
    admin.does("dhcp-event", "add", "52:54:00:00:00:09", "10.1.0.9", "-h")
    expected = Sighting(
        What.GIVEN, MacAddress.parse("52:54:00:00:00:09"), Program.DNSMASQ, IPv4Address("10.1.0.9"), None, None, False
    )
    assert decode(listener.recv(4096)) == expected
    admin.does("dhcp-event", "del", "52:54:00:00:00:09", "10.1.0.9")
    with pytest.raises(BlockingIOError):
        listener.recv(4096)
    listener.close()


def test_nonsense_is_one_line_and_told_to_the_service(admin: Administrator, listener: socket.socket) -> None:
    assert "nothing that dnsmasq" in admin.fails("dhcp-event", "non\x1bsense", status=2)
    assert b"trouble" in listener.recv(4096)
    listener.close()
    assert "it does not run, or dhcp.mode is not off" in admin.fails("dhcp-event", "nonsense", status=2)
    assert "the service was not told" in admin.fails("dhcp-event", "add", "52:54:00:00:00:09", "10.1.0.9")


def test_the_socket_is_for_root_and_one_group(admin: Administrator, listener: socket.socket) -> None:
    assert (admin.config.frontend.run / hook_socket.NAME).stat().st_mode & 0o777 == 0o660
    listener.close()
