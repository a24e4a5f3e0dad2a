"""Root's password: a hash, for all, an appliance or a node; seen by nobody else."""

from __future__ import annotations

import ctypes

import pytest

from bootserver.cluster import passwords
from bootserver.cluster.passwords import Method, hash_password
from bootserver.db.rows import SecretRow
from bootserver.errors import UsageError
from tests.administrator import Administrator


def crypt(text: str, hashed: str) -> str:
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    found: bytes = library.crypt(text.encode(), hashed.encode())
    return found.decode()


@pytest.mark.parametrize(("method", "prefix"), [(Method.YESCRYPT, "$y$"), (Method.SHA512, "$6$rounds=")])
def test_a_password_is_hashed_as_the_system_s_own_crypt_does_it_with_a_salt_of_its_own(method: Method, prefix: str) -> None:
    one, other = (hash_password("Gröbner's basis", method).reveal() for _ in range(2))
    assert one.startswith(prefix) and one != other
    assert crypt("Gröbner's basis", one) == one
    assert crypt("Groebner", one) != one


@pytest.mark.parametrize("text", ["", "a\nb", "a\0b", "x" * 512])
def test_what_can_not_be_typed_at_a_login_is_no_password(text: str) -> None:
    with pytest.raises(UsageError):
        hash_password(text)


def test_one_time_passwords_are_long_and_never_the_same() -> None:
    made = {passwords.new_one_time().reveal() for _ in range(50)}
    assert len(made) == 50 and all(len(each) == 19 for each in made)


@pytest.fixture
def admin(tmp_path_factory: pytest.TempPathFactory) -> Administrator:
    administrator = Administrator(tmp_path_factory.mktemp("frontend"))
    for index in range(2):
        administrator.does("node", "add", f"compute-0-{index}", "--mac", f"52:54:00:00:00:0{index}")
    return administrator


def of(admin: Administrator, name: str) -> passwords.Password | None:
    from bootserver.cluster.change import open_reader

    with open_reader(admin.databases.cluster) as reader:
        row = admin.node(name)
        found = passwords.effective(reader, row)
        assert passwords.Passwords(reader).of(row.id, row.appliance_id) == found
        return found


def test_the_nearest_one_wins_and_without_any_root_is_locked(admin: Administrator) -> None:
    assert of(admin, "compute-0-0") is None
    assert admin.run("kickstart", "password", "--all", typing="for all\n").stdout == "global: password set\n"
    assert admin.run("kickstart", "password", "--appliance", "compute", "--method", "sha512", typing="mine\n").exit_code == 0
    printed = admin.does("kickstart", "password", "compute-0-0", "--one-time")
    said, one_time = printed.split()[-2], printed.splitlines()[-1]
    first, second = of(admin, "compute-0-0"), of(admin, "compute-0-1")
    assert first is not None and first.one_time and crypt(one_time, first.hashed.reveal()) == first.hashed.reveal()
    assert second is not None and not second.one_time and second.hashed.reveal().startswith("$6$")
    assert said == "set"
    admin.does("kickstart", "password", "--appliance", "compute", "--remove")
    third = of(admin, "compute-0-1")
    assert third is not None and crypt("for all", third.hashed.reveal()) == third.hashed.reveal()
    assert "no password is set there" in admin.fails("kickstart", "password", "--appliance", "compute", "--remove")


def test_no_log_dump_or_event_has_a_hash_and_an_undo_brings_no_old_one_back(admin: Administrator) -> None:
    for text in ("Zwiebel-1", "Zwiebel-2"):
        assert admin.run("kickstart", "password", "compute-0-0", typing=f"{text}\n").exit_code == 0
    dry = admin.run("kickstart", "password", "compute-0-0", "--dry-run", typing="Zwiebel-3\n").stdout
    shown = dry + admin.does("dump") + admin.does("log", "--format", "json") + admin.does("node", "show", "compute-0-0")
    shown += admin.does("events")
    for number in range(1, admin.changes() + 1):
        shown += admin.does("log", "show", str(number))
    assert "$y$" not in shown and "****" in shown
    for text in ("Zwiebel-1", "Zwiebel-2", "Zwiebel-3"):
        assert text not in shown
    admin.does("undo", str(admin.changes()))
    assert of(admin, "compute-0-0") is None


def test_a_removed_node_takes_its_password_with_it(admin: Administrator) -> None:
    assert admin.run("kickstart", "password", "compute-0-0", typing="x\n").exit_code == 0
    admin.does("node", "remove", "compute-0-0", "--yes")
    assert admin.rows(SecretRow) == []


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--all", "compute-0-0"),
        ("--all", "--one-time", "--remove"),
        ("--all", "--method", "md5"),
        ("--all", "--password", "x"),
    ],
)
def test_wrong_words_change_nothing(admin: Administrator, words: tuple[str, ...]) -> None:
    admin.fails("kickstart", "password", *words, status=2)
    assert admin.rows(SecretRow) == []


def test_nothing_typed_is_no_password_and_no_such_node_is_said_before_one_is_asked_for(admin: Administrator) -> None:
    assert "standard input" in admin.fails("kickstart", "password", "--all", status=2)
    assert "no node 'compute-9-9'" in admin.fails("kickstart", "password", "compute-9-9")
