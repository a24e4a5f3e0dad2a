"""insert-ethers against the running service: machines ask by DHCP (busybox udhcpc), the command opens, shows and closes."""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from bootserver.cluster import discovery
from bootserver.cluster.change import open_reader
from bootserver.db.rows import DiscoveryRow, NodeRow
from tests.cluster import mac, wait_until
from tests.frontend import PATIENCE, Frontend, with_token
from tests.lab.process import Process

numbers = itertools.count(1)


class Machine:
    """A machine with one card on the cluster's network."""

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._name = f"{frontend.namespace.name}-m"
        inside = frontend.namespace.name
        for command in (
            ["netns", "add", self._name],
            ["-n", inside, "link", "add", "machine", "type", "veth", "peer", "name", "eth0", "netns", self._name],
            ["-n", inside, "link", "set", "machine", "master", "br0", "up"],
        ):
            subprocess.run(["ip", *command], check=True)

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self._name], check=False)

    def power_on(self, number: int, *, netboots: bool = True) -> str | None:
        """It asks for an address, with the MAC of that number. :returns: the one it got."""
        for change in (["down"], ["address", str(mac(number))], ["up"]):
            subprocess.run(["ip", "-n", self._name, "link", "set", "eth0", *change], check=True)
        asks = ["-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000"] if netboots else ["-V", "dumb"]
        client = ["busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "2", "-T", "1", "-s", "/bin/true", *asks]
        done = subprocess.run(["ip", "netns", "exec", self._name, *client], capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        return said.partition("lease of ")[2].split()[0] if "lease of " in said else None


@pytest.fixture(scope="module")
def machine(frontend: Frontend) -> Iterator[Machine]:
    frontend.make_installable()
    made = Machine(frontend)
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def _no_discovery_stays_open(frontend: Frontend) -> Iterator[None]:
    yield
    frontend.cli("insert-ethers", "--close", status=None)


def current(frontend: Frontend) -> DiscoveryRow | None:
    with open_reader(frontend.databases.cluster) as reader:
        return discovery.current(reader)


def opened(frontend: Frontend, *options: str) -> Process:
    """An insert-ethers that has opened its discovery."""
    command = frontend.start_command("insert-ethers", *options)
    wait_until("it is open", lambda: current(frontend) is not None or not command.alive, PATIENCE)
    assert command.alive, command.text()
    return command


def name_of(frontend: Frontend, number: int) -> str | None:
    with open_reader(frontend.databases.cluster) as reader:
        found = reader.rows(NodeRow, "id IN (SELECT node_id FROM interface WHERE mac = :mac)", mac=mac(number))
    return found[0].name if found else None


def test_machines_become_nodes_in_the_order_of_their_power_buttons(frontend: Frontend, machine: Machine) -> None:
    first, second = next(numbers), next(numbers)
    command = opened(frontend, "--batch", "--count", "2")
    addresses = [machine.power_on(second), machine.power_on(first)]
    assert command.wait(PATIENCE) == 0, "it ends by itself after two"
    names = [name_of(frontend, second), name_of(frontend, first)]
    assert names == ["compute-0-0", "compute-0-1"]
    assert command.text() == "Inserted node compute-0-0\nInserted node compute-0-1\n"
    assert addresses == ["10.77.0.254", "10.77.0.253"], "the first question already is answered with the new address"
    assert current(frontend) is None
    assert frontend.seen("compute-0-0").install is not None, "and their install is armed"
    assert machine.power_on(second) == "10.77.0.254", "it keeps its address"


def test_without_a_discovery_an_unknown_machine_gets_nothing(frontend: Frontend, machine: Machine) -> None:
    assert machine.power_on(900) is None
    assert name_of(frontend, 900) is None


def test_a_machine_that_does_not_netboot_is_not_taken(frontend: Frontend, machine: Machine) -> None:
    opened(frontend, "--batch")
    assert machine.power_on(901, netboots=False) is None
    assert name_of(frontend, 901) is None


def test_a_mac_is_made_a_node_at_once(frontend: Frontend, machine: Machine) -> None:
    number = next(numbers)
    done = frontend.cli("insert-ethers", "--batch", "--mac", str(mac(number)))
    name = name_of(frontend, number)
    assert done.stdout == f"Inserted node {name}\n" and name is not None
    assert machine.power_on(number) == str(frontend.seen(name).interfaces[0].ip)
    again = frontend.cli("insert-ethers", "--batch", "--mac", str(mac(number)), status=1)
    assert again.stderr == f"bootserver: Duplicate MAC '{mac(number)}' Specified: it is {name}'s\n"


def test_a_second_one_is_refused_by_name_and_may_attach(frontend: Frontend, machine: Machine) -> None:
    opened(frontend, "--batch")
    refused = frontend.cli("insert-ethers", "--batch", status=1)
    assert "has had a discovery open since" in refused.stderr and "--attach" in refused.stderr
    attached = frontend.start_command("insert-ethers", "--attach", "--batch")
    number = next(numbers)
    machine.power_on(number)
    attached.wait_for(f"Inserted node {name_of(frontend, number)}$", PATIENCE)
    frontend.cli("insert-ethers", "--close")
    assert attached.wait(PATIENCE) == 0
    assert current(frontend) is None


def test_with_none_open_there_is_nothing_to_attach_to_and_to_close(frontend: Frontend) -> None:
    for option in ("--attach", "--close"):
        assert frontend.cli("insert-ethers", option, status=1).stderr == "bootserver: no discovery is open\n"


def test_a_command_that_is_killed_leaves_its_discovery_open_and_the_service_goes_on(frontend: Frontend, machine: Machine) -> None:
    command = opened(frontend, "--batch")
    os.kill(command.pid, signal.SIGKILL)
    command.wait(PATIENCE)
    number = next(numbers)
    assert machine.power_on(number) is not None
    assert name_of(frontend, number) is not None
    assert current(frontend) is not None
    frontend.cli("insert-ethers", "--close")
    assert machine.power_on(902) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_the_command_ends_its_discovery(frontend: Frontend, number: signal.Signals) -> None:
    command = opened(frontend, "--batch")
    time.sleep(0.5)  # it watches now
    command.signal(number)
    command.wait(PATIENCE)
    assert current(frontend) is None
    assert "Traceback" not in command.text()


def test_two_cards_of_one_machine_that_is_replaced(frontend: Frontend, machine: Machine) -> None:
    number, new = next(numbers), next(numbers)
    frontend.cli("insert-ethers", "--batch", "--mac", str(mac(number)))
    name = name_of(frontend, number)
    assert name is not None
    address = str(frontend.seen(name).interfaces[0].ip)
    command = opened(frontend, "--batch", "--replace", name)
    assert machine.power_on(new) == address
    assert command.wait(PATIENCE) == 0
    assert command.text() == f"Inserted node {name}\n"
    assert machine.power_on(number) is None, "the old machine is nobody"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rack", "-1"], "a rack is a number"),
        (["--appliance", "toaster"], "no appliance 'toaster'"),
        (["--count", "0"], "are 1 or more"),
        (["--baseip", "192.0.2.1"], "is not in network private"),
        (["--mac", "nonsense"], "is no MAC address"),
        (["--minutes", "0"], "more than 0"),
        (["--hostname", "x"], "go with --batch --mac"),
        (["--batch", "--confirm"], "one of them"),
    ],
)
def test_wrong_usage_is_one_line_and_opens_nothing(frontend: Frontend, options: list[str], said: str) -> None:
    done = frontend.cli("insert-ethers", *options, status=None)
    assert done.returncode in (1, 2) and done.stdout == ""
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert current(frontend) is None


# -- on a terminal -----------------------------------------------------------------------------------------------


class Terminal:
    """A command on a terminal, and what stands on it."""

    def __init__(self, frontend: Frontend, *options: str) -> None:
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        command = frontend.namespace.command(frontend._command(["insert-ethers", *options]))
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.text = ""

    def shows(self, words: str) -> None:
        wait_until(f"the terminal shows {words!r}", lambda: words in self._read(), PATIENCE)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def _read(self) -> str:
        with contextlib.suppress(OSError):  # nothing new, or nobody there any more
            while data := os.read(self._master, 65536):
                self.text += data.decode()
        return self.text

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(PATIENCE)
        os.close(self._master)


def test_the_list_shows_the_marks(frontend: Frontend, machine: Machine) -> None:
    terminal = Terminal(frontend)
    try:
        terminal.shows("Inserted Appliances (Compute)")
        number = next(numbers)
        address = machine.power_on(number)
        assert address is not None
        name = name_of(frontend, number)
        assert name is not None
        line = f"{mac(number)!s:<18} {name:<24} "
        terminal.shows(f"{line}( )")
        frontend.add_address(address)
        form = urlencode({"ticket": frontend.ticket(name, time.time())})
        token = frontend.http("POST", "/node/exchange", source=address, body=form).text
        assert frontend.http("GET", "/node/script", source=address, headers=with_token(token)).status == 200
        terminal.shows(f"{line}(*)")
        assert frontend.http("GET", "/node/script", source=address, headers=with_token("forged")).status == 403
        terminal.shows(f"{line}(403)")
        terminal.process.send_signal(signal.SIGINT)
        terminal.process.wait(PATIENCE)
        terminal.shows("1 inserted")
    finally:
        terminal.close()
    assert current(frontend) is None


def test_a_person_is_asked_for_each_machine(frontend: Frontend, machine: Machine) -> None:
    terminal = Terminal(frontend, "--confirm")
    try:
        terminal.shows("Inserted Appliances")
        wanted, unwanted = next(numbers), 903
        for number, answer in ((unwanted, "n\n"), (wanted, "y\n")):
            machine.power_on(number)
            terminal.shows(f"Discovered a new appliance with MAC ({mac(number)}) [PXEClient:Arch:00000:UNDI:002001]: take it?")
            assert name_of(frontend, number) is None, "it is nobody before it is answered"
            terminal.type(answer)
        wait_until("it is a node", lambda: name_of(frontend, wanted) is not None, PATIENCE)
        assert name_of(frontend, unwanted) is None
        assert machine.power_on(wanted) is not None
    finally:
        terminal.close()
