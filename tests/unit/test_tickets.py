"""Boot tickets, sessions, node keys: what proves what, once, and to whom. Nothing else is accepted."""

from __future__ import annotations

import hmac
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver.cluster import attributes, discovery, host_keys, installs, nodes, tickets
from bootserver.cluster.events import Kind
from bootserver.cluster.installs import PHASES, Denial
from bootserver.db.rows import InstallRow, InstallState, SecretRow
from bootserver.errors import Refused, UsageError
from bootserver.values.secret import Secret
from tests.cluster import Cluster, machine

NOW = 1_800_000_000.0
SECONDS = 1800
SECRET = Secret("5" * 64)


# -- a ticket by itself ------------------------------------------------------------------------------------------


def test_a_ticket_is_good_for_its_time() -> None:
    ticket = tickets.make(7, SECRET, NOW)
    assert tickets.install_of(ticket) == 7
    assert tickets.check(ticket, SECRET, NOW + SECONDS, SECONDS) == ticket.split(".")[2]
    with pytest.raises(Refused, match="too old: restart the node"):
        tickets.check(ticket, SECRET, NOW + SECONDS + 1, SECONDS)
    with pytest.raises(Refused):
        tickets.check(ticket, SECRET, NOW - 120, SECONDS)


def test_each_ticket_is_another() -> None:
    assert len({tickets.make(7, SECRET, NOW) for _ in range(100)}) == 100


def test_a_ticket_stands_on_a_kernel_command_line_as_it_is() -> None:
    ticket = tickets.make(2**62, SECRET, NOW)
    assert ticket.isascii() and ticket.replace(".", "").isalnum()


@given(st.text(max_size=120) | st.text("0123456789abcdef.", max_size=120))
def test_a_forged_ticket_is_refused(forged: str) -> None:
    tickets.install_of(forged)
    with pytest.raises(Refused, match="not genuine"):
        tickets.check(forged, SECRET, NOW, SECONDS)


@given(st.data())
def test_no_mutation_of_a_ticket_is_accepted(data: st.DataObject) -> None:
    ticket = tickets.make(7, SECRET, NOW)
    at = data.draw(st.integers(0, len(ticket) - 1))
    other = data.draw(st.characters() | st.sampled_from("0123456789abcdefABCDEF. +-_\n"))
    how = data.draw(st.sampled_from(["replace", "insert", "delete", "truncate", "append", "swap case", "double"]))
    mutated = {
        "replace": ticket[:at] + other + ticket[at + 1 :],
        "insert": ticket[:at] + other + ticket[at:],
        "delete": ticket[:at] + ticket[at + 1 :],
        "truncate": ticket[:at],
        "append": ticket + other,
        "swap case": ticket.swapcase(),
        "double": f"{ticket}.{ticket}",
    }[how]
    if mutated != ticket:
        with pytest.raises(Refused):
            tickets.check(mutated, SECRET, NOW, SECONDS)


def test_an_empty_signature_or_body_is_none() -> None:
    body = tickets.make(7, SECRET, NOW).rpartition(".")[0]
    for forged in (f"{body}.", body, ".", "", f".{hmac.new(b'', b'', 'sha256').hexdigest()[:32]}"):
        with pytest.raises(Refused):
            tickets.check(forged, SECRET, NOW, SECONDS)


@pytest.mark.parametrize("text", ["", ".", "x.1.2", "-1.2.3", "+1.2", "1" * 19 + ".", "².1", "٣.1", " 7.1", "7\n.1"])
def test_what_names_no_install_names_none(text: str) -> None:
    assert tickets.install_of(text) is None


# -- and of a node -----------------------------------------------------------------------------------------------


@pytest.fixture
def armed(cluster: Cluster) -> Cluster:
    """compute-0-0 and compute-0-1, both told to install."""
    cluster.make_installable()
    for number in (1, 2):
        cluster.add(number)
        cluster.set_action(f"compute-0-{number - 1}", "install")
    cluster.events.clear()
    return cluster


def ticket_of(cluster: Cluster, name: str = "compute-0-0", now: float = NOW) -> str:
    """A ticket as the node's menu holds it."""
    install = cluster.seen(name).install
    assert install is not None
    return tickets.make(install.id, install.secret, now)


def exchange(cluster: Cluster, ticket: str, name: str = "compute-0-0", now: float = NOW) -> Secret | Denial:
    with cluster.change() as change:
        return installs.exchange(change, nodes.get(change, name), ticket, now, seconds=SECONDS, attempts=3)


def token_of(cluster: Cluster, name: str = "compute-0-0") -> str:
    token = exchange(cluster, ticket_of(cluster, name), name)
    assert isinstance(token, Secret)
    return token.reveal()


def is_session(cluster: Cluster, token: str, name: str = "compute-0-0") -> bool:
    with cluster.read() as reader:
        return not isinstance(installs.session(reader, nodes.get(reader, name), token), Denial)


def state_of(cluster: Cluster, name: str = "compute-0-0") -> InstallState | None:
    install = cluster.install(name)
    return None if install is None else install.state


def test_a_ticket_is_exchanged_for_a_session(armed: Cluster) -> None:
    token = token_of(armed)
    assert state_of(armed) is InstallState.RUNNING
    assert is_session(armed, token)
    assert armed.kinds() == [Kind.EXCHANGED]
    with armed.read() as reader:
        assert token not in [row.value for row in reader.rows(SecretRow)], "only its digest is kept"


@pytest.mark.parametrize("token", ["", "x", "{other}", "{own}x", " {own}", "{OWN}"])
def test_any_other_token_is_no_session(armed: Cluster, token: str) -> None:
    own, other = token_of(armed), token_of(armed, "compute-0-1")
    assert not is_session(armed, token.format(own=own, other=other, OWN=own.upper()))
    assert not is_session(armed, own, "compute-0-1"), "nor is it another node's"


def test_before_the_exchange_there_is_no_session(armed: Cluster) -> None:
    assert not is_session(armed, "")
    assert not is_session(armed, ticket_of(armed))


def test_a_second_exchange_of_a_ticket_is_an_alarm_and_parks_the_install(armed: Cluster) -> None:
    ticket = ticket_of(armed)
    first = exchange(armed, ticket)
    assert isinstance(first, Secret) and is_session(armed, first.reveal())
    armed.events.clear()
    second = exchange(armed, ticket)
    assert isinstance(second, Denial) and "a second time" in second.why
    assert armed.kinds() == [Kind.ALARM, Kind.PARKED]
    assert state_of(armed) is InstallState.PARKED
    assert not is_session(armed, first.reveal()), "whoever had it has it no more"
    install = armed.seen("compute-0-0").install
    assert install is not None and install.parked is not None and "second time" in install.parked
    fresh = exchange(armed, ticket_of(armed))
    assert isinstance(fresh, Denial) and "parked" in fresh.why, "until a person looks"
    assert state_of(armed, "compute-0-1") is InstallState.ARMED, "and nobody else is stopped"


def test_a_parked_install_is_armed_anew_by_a_person(armed: Cluster) -> None:
    ticket = ticket_of(armed)
    exchange(armed, ticket)
    exchange(armed, ticket)
    armed.set_action("compute-0-0", "install")
    assert isinstance(exchange(armed, ticket), Denial), "the old ticket is worth nothing"
    assert state_of(armed) is InstallState.ARMED
    assert is_session(armed, token_of(armed))


def test_a_node_that_lost_power_comes_again_with_a_new_ticket(armed: Cluster) -> None:
    first = token_of(armed)
    with armed.change() as change:
        node = nodes.get(change, "compute-0-0")
        install = installs.session(change, node, first)
        assert not isinstance(install, Denial)
        installs.report_phase(change, node, install, "sync", {})
    second = token_of(armed)
    assert is_session(armed, second)
    assert not is_session(armed, first), "its old session has ended"
    again = armed.install("compute-0-0")
    assert again is not None and again.phase is None, "and it begins with the first phase"


WRONG_TICKETS = {
    "another node's": lambda cluster: ticket_of(cluster, "compute-0-1"),
    "too old": lambda cluster: ticket_of(cluster, now=NOW - SECONDS - 1),
    "from the future": lambda cluster: ticket_of(cluster, now=NOW + 3600),
    "forged": lambda cluster: tickets.make(cluster.seen("compute-0-0").install.id, Secret("0" * 64), NOW),
    "truncated": lambda cluster: ticket_of(cluster)[:-1],
    "another install's number on a good one": lambda cluster: "2." + ticket_of(cluster).partition(".")[2],
    "empty": lambda _cluster: "",
    "no text of ours": lambda _cluster: "\u2028\0${x}",
}


@pytest.mark.parametrize("make", WRONG_TICKETS.values(), ids=WRONG_TICKETS.keys())
def test_a_wrong_ticket_is_denied_and_stops_nothing(armed: Cluster, make) -> None:  # type: ignore[no-untyped-def]
    assert isinstance(exchange(armed, make(armed)), Denial)
    assert state_of(armed) is InstallState.ARMED
    assert armed.kinds() == []
    assert is_session(armed, token_of(armed)), "the node itself still gets its own"


def test_a_ticket_of_an_install_that_was_armed_anew_is_worth_nothing(armed: Cluster) -> None:
    old = ticket_of(armed)
    armed.set_action("compute-0-0", "install")
    assert isinstance(exchange(armed, old), Denial)


def test_a_ticket_of_an_install_that_was_called_off_is_worth_nothing(armed: Cluster) -> None:
    old, token = ticket_of(armed), token_of(armed, "compute-0-1")
    armed.set_action("compute-0-0", "os")
    armed.set_action("compute-0-1", "os")
    assert isinstance(exchange(armed, old), Denial)
    assert not is_session(armed, token, "compute-0-1")


def test_phases_come_in_their_order(armed: Cluster) -> None:
    token = token_of(armed)
    armed.events.clear()

    def report(phase: str) -> Denial | None:
        with armed.change() as change:
            node = nodes.get(change, "compute-0-0")
            install = installs.session(change, node, token)
            assert not isinstance(install, Denial)
            return installs.report_phase(change, node, install, phase, {"percent": 50.0})

    assert report("partition") is None
    assert report("sync") is None, "one may be left out"
    assert report("sync") is None, "and told of many times"
    assert isinstance(report("format"), Denial), "but none before it comes again"
    assert isinstance(report("reboot"), Denial)
    assert isinstance(report(""), Denial)
    for phase in PHASES[PHASES.index("sync") :]:
        assert report(phase) is None
    assert [event.detail["phase"] for event in armed.events] == ["partition", "sync", "sync", *PHASES[2:]]


def test_installed_closes_the_ticket_and_the_node_boots_its_disk(armed: Cluster) -> None:
    ticket, token = ticket_of(armed), token_of(armed)
    armed.events.clear()
    with armed.change() as change:
        installs.finish(change, nodes.get(change, "compute-0-0"))
    assert armed.node("compute-0-0").action is None
    assert armed.seen("compute-0-0").action.local_disk
    assert armed.install("compute-0-0") is None
    assert not is_session(armed, token)
    assert isinstance(exchange(armed, ticket), Denial)
    assert armed.kinds() == [Kind.INSTALLED, Kind.ACTION]
    with armed.read() as reader:
        assert [row.name for row in reader.rows(SecretRow)] == ["install/2/boot"], "all of its secrets are gone"


# -- node keys ---------------------------------------------------------------------------------------------------


def key_of(cluster: Cluster, name: str = "compute-0-0") -> str:
    with cluster.change() as change:
        return installs.make_node_key(change, nodes.get(change, name)).reveal()


def has_key(cluster: Cluster, key: str, name: str = "compute-0-0") -> bool:
    with cluster.read() as reader:
        return installs.has_node_key(reader, nodes.get(reader, name), key)


def test_a_node_key_is_one_node_s(armed: Cluster) -> None:
    key = key_of(armed)
    assert has_key(armed, key)
    assert not has_key(armed, key, "compute-0-1")
    assert not has_key(armed, "") and not has_key(armed, key[:-1])


def test_a_new_key_takes_the_old_one_s_place(armed: Cluster) -> None:
    old, new = key_of(armed), key_of(armed)
    assert has_key(armed, new) and not has_key(armed, old)


def test_a_removed_node_s_key_is_worth_nothing_even_to_a_node_of_its_name(armed: Cluster) -> None:
    armed.add(3)
    key = key_of(armed, "compute-0-2")
    with armed.change() as change:
        nodes.remove(change, nodes.get(change, "compute-0-2"))
    armed.add(4)
    assert armed.names()[-1] == "compute-0-2"
    assert not has_key(armed, key, "compute-0-2")


def test_a_replaced_machine_s_key_ticket_and_session_are_worth_nothing(armed: Cluster) -> None:
    key, ticket, token = key_of(armed), ticket_of(armed), token_of(armed)
    armed.open_discovery(discovery.Request(replace="compute-0-0"))
    armed.register(machine(9))
    assert not has_key(armed, key)
    assert not is_session(armed, token)
    assert isinstance(exchange(armed, ticket), Denial)
    assert isinstance(exchange(armed, ticket_of(armed, now=time.time()), now=time.time()), Secret), "the new machine installs"


# -- tries that end badly -----------------------------------------------------------------------------------------


def fail(cluster: Cluster, why: str = "no disk found") -> None:
    with cluster.change() as change:
        node = nodes.get(change, "compute-0-0")
        install = change.one(InstallRow, "node_id = :node", node=node.id)
        assert install is not None
        installs.fail(change, node, install, why, attempts=3)


def test_three_failures_in_a_row_park_an_install_and_it_says_the_last_reason(armed: Cluster) -> None:
    for number in range(3):
        token_of(armed)
        fail(armed, f"reason {number}")
        assert state_of(armed) is (InstallState.RUNNING if number < 2 else InstallState.PARKED)
    install = armed.install("compute-0-0")
    assert install is not None and install.parked == "3 installs in a row failed, the last: reason 2"
    assert isinstance(exchange(armed, ticket_of(armed)), Denial)


def test_a_machine_that_only_ever_goes_off_is_parked_too(armed: Cluster) -> None:
    for _ in range(3):
        token_of(armed)
    denied = exchange(armed, ticket_of(armed))
    assert isinstance(denied, Denial) and "3 installs in a row did not end" in denied.why
    assert state_of(armed) is InstallState.PARKED


def test_arming_it_again_begins_anew(armed: Cluster) -> None:
    for _ in range(3):
        token_of(armed)
        fail(armed)
    armed.set_action("compute-0-0", "install")
    assert state_of(armed) is InstallState.ARMED
    assert token_of(armed)


def test_the_image_is_settled_when_the_ticket_is_exchanged(armed: Cluster) -> None:
    with armed.change() as change:
        attributes.set_attribute(change, attributes.EVERYWHERE, "image", "golden")
    token_of(armed)
    with armed.change() as change:
        attributes.set_attribute(change, attributes.EVERYWHERE, "image", "other")
    install = armed.install("compute-0-0")
    assert install is not None and install.image == "golden"


def test_uuids_of_a_try_are_its_own_and_stay(armed: Cluster) -> None:
    def seed() -> bytes:
        with armed.read() as reader:
            install = reader.one(InstallRow, "id > 0 ORDER BY id")
            assert install is not None
            return installs.uuid_seed(reader, install)

    token_of(armed)
    first = seed()
    assert seed() == first
    token_of(armed)
    assert seed() != first


# -- host keys ----------------------------------------------------------------------------------------------------

PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n-----END OPENSSH PRIVATE KEY-----"
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ1dCBub3QgYSByZWFsIG9uZSwgb2YgY291cnNl compute-0-0"


def keys(cluster: Cluster, name: str = "compute-0-0") -> dict[str, str]:
    with cluster.read() as reader:
        return {file: key.reveal() for file, key in host_keys.of(reader, nodes.get(reader, name)).items()}


def keep(cluster: Cluster, file: str, text: str, name: str = "compute-0-0") -> None:
    with cluster.change() as change:
        host_keys.keep(change, nodes.get(change, name), file, text)


def test_host_keys_outlive_installs_and_go_with_the_node_or_when_told_so(armed: Cluster) -> None:
    keep(armed, "ssh_host_ed25519_key", PRIVATE)
    keep(armed, "ssh_host_ed25519_key.pub", PUBLIC)
    armed.set_action("compute-0-0", "install")
    assert keys(armed) == {"ssh_host_ed25519_key": PRIVATE + "\n", "ssh_host_ed25519_key.pub": PUBLIC + "\n"}
    assert keys(armed, "compute-0-1") == {}
    with armed.read() as reader:
        known = host_keys.known_hosts(reader, nodes.get(reader, "compute-0-0"), ["compute-0-0", "10.1.255.254"])
    assert known == f"compute-0-0,10.1.255.254 {PUBLIC.rsplit(' ', 1)[0]}\n"
    with armed.change() as change:
        installs.set_action(change, nodes.get(change, "compute-0-0"), "install", new_host_keys=True)
    assert keys(armed) == {}
    keep(armed, "ssh_host_ed25519_key", PRIVATE)
    with armed.change() as change:
        nodes.remove(change, nodes.get(change, "compute-0-0"))
    with armed.read() as reader:
        assert not [row.name for row in reader.rows(SecretRow) if "/host/" in row.name]


def test_no_host_key_is_shown_by_the_log(armed: Cluster) -> None:
    keep(armed, "ssh_host_ed25519_key", PRIVATE)
    with armed.read() as reader:
        logged = reader.connection.rows('SELECT "before", "after" FROM change_row')
    assert "b3BlbnNza" not in str([dict(row) for row in logged])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("authorized_keys", PUBLIC),
        ("../ssh_host_rsa_key", PRIVATE),
        ("ssh_host_rsa_key", "nonsense"),
        ("ssh_host_rsa_key", PRIVATE + "\nProxyCommand x"),
        ("ssh_host_rsa_key.pub", PRIVATE),
        ("ssh_host_rsa_key.pub", PUBLIC + "\n* " + PUBLIC),
        ("ssh_host_rsa_key.pub", "@cert-authority * " + PUBLIC),
        ("ssh_host_rsa_key", "-----BEGIN RSA PRIVATE KEY-----\n" + "A" * 20_000 + "\n-----END RSA PRIVATE KEY-----"),
    ],
)
def test_what_is_no_host_key_is_not_kept(armed: Cluster, file: str, text: str) -> None:
    with pytest.raises(UsageError):
        keep(armed, file, text)
    assert keys(armed) == {}
