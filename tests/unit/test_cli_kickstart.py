"""``bootserver kickstart show`` and ``check``: what nodes would get now, and what the tools say of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bootserver.cluster.change import open_change
from bootserver.db.rows import DistributionRow, SecretRow
from bootserver.install.checking import kickstart as checking
from tests.administrator import Administrator
from tests.answer_files import DEBIAN, ROCKY, SUSE, UBUNTU


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Administrator(tmp_path_factory.mktemp("template")).folder


@pytest.fixture
def admin(tmp_path: Path, template: Path) -> Administrator:
    """A frontend with four nodes, the first three of which install Rocky Linux."""
    administrator = Administrator(tmp_path, template)
    with open_change(administrator.databases.cluster, "test", "distributions") as change:
        for row in (ROCKY, DEBIAN, UBUNTU, SUSE):
            change.insert(DistributionRow(**{name: getattr(row, name) for name in row.columns()} | {"id": 0}))
    for index in range(4):
        administrator.does("node", "add", f"compute-0-{index}", "--mac", f"52:54:00:00:00:0{index}")
    administrator.does("attr", "set", "distribution", "rhel-9.4", "compute-0-[0-2]")
    return administrator


def site_template(admin: Administrator, name: str, text: str) -> None:
    folder = admin.folder / "kickstart"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)


def test_a_node_s_file_is_shown_without_its_secrets(admin: Administrator) -> None:
    assert admin.run("kickstart", "password", "--all", typing="geheim\n").exit_code == 0
    shown = admin.does("kickstart", "show", "compute-0-1")
    assert shown.startswith("# compute-0-1: Rocky Linux 9.4.")
    assert "\nTOKEN='****'\n" in shown and "\nrootpw --iscrypted '****'\n" in shown
    assert "rootpw --iscrypted '$y$" in admin.does("kickstart", "show", "compute-0-1", "--secrets")


def test_it_has_the_keys_of_who_may_log_in_and_comes_from_the_frontend_that_the_node_knows(admin: Administrator) -> None:
    keys = admin.config.frontend.authorized_keys
    keys.parent.mkdir(exist_ok=True)
    keys.write_text(f"ssh-ed25519 {'C' * 68} root@frontend\n")
    shown = admin.does("kickstart", "show", "compute-0-0")
    assert "C" * 68 in shown
    assert "FRONTEND=http://10.1.1.1/\n" in shown


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ((), "no distribution: `bootserver attr set distribution NAME compute-0-3`"),
        (("attr", "set", "image", "golden", "compute-0-3"), "it installs image golden"),
        (("attr", "set", "distribution", "nowhere", "compute-0-3"), "there is no distribution 'nowhere'"),
    ],
)
def test_what_is_missing_is_one_line(admin: Administrator, before: tuple[str, ...], why: str) -> None:
    if before:
        admin.does(*before)
    assert why in admin.fails("kickstart", "show", "compute-0-3")
    result = admin.run("kickstart", "check", "compute-0-3")
    assert result.exit_code == 1
    assert why in result.stdout


def test_one_node_is_shown_and_not_many(admin: Administrator) -> None:
    assert "means 4 nodes" in admin.fails("kickstart", "show", "compute", status=2)


def test_what_is_right_is_said_so_and_what_nobody_could_check(admin: Administrator) -> None:
    assert admin.does("kickstart", "check", "--all") == "3 nodes checked: nothing wrong\n1 more install no distribution\n"
    admin.does("attr", "set", "distribution", "suse-15.6", "compute-0-3")
    admin.does("attr", "set", "distribution", "debian-12", "compute-0-1")
    assert admin.does("kickstart", "check", "--all") == (
        "4 nodes checked: nothing wrong\nautoyast: unvalidated but for being well-formed XML\n"
    )
    assert admin.lists("kickstart", "check", "--all") == []


def test_what_only_ubuntu_s_installer_could_check_is_said_to_be_unvalidated(admin: Administrator) -> None:
    if not any(Path(folder, "cloud-init").exists() for folder in os.environ["PATH"].split(":")):
        pytest.skip("no cloud-init here")
    admin.does("attr", "set", "distribution", "ubuntu-24.04", "compute-0-3")
    assert "autoinstall: what is below autoinstall: is unvalidated" in admin.does("kickstart", "check", "compute-0-3")
    site_template(admin, "own.j2", '{% extends "autoinstall.j2" %}\n{% block localization %}\n  a: {b\n{% endblock %}\n')
    admin.does("attr", "set", "kickstart", "own.j2", "compute-0-3")
    (found,) = admin.run("kickstart", "check", "compute-0-3").stdout.splitlines()[:1]
    assert found == ("compute-0-3: line 7 (block network): while parsing a flow mapping expected ',' or '}', but got ':'")
    site_template(admin, "own.j2", "#cloud-config\n{% block a %}\nautoinstall:\n  version: 1\nusers: 3\n{% endblock %}\n")
    (found,) = admin.run("kickstart", "check", "compute-0-3").stdout.splitlines()[:1]
    assert found.startswith("compute-0-3: line 4 (block a): users: 3 is not of type")


def test_a_fault_is_named_by_line_section_and_block_for_each_node_that_has_it(admin: Administrator) -> None:
    own = '{% extends "kickstart.j2" %}\n{% block bootloader %}\nbotloader --location=mbr\n{% endblock %}\n'
    site_template(admin, "own.ks.j2", own)
    admin.does("attr", "set", "kickstart", "own.ks.j2", "compute-0-[0-1]")
    result = admin.run("kickstart", "check", "--all")
    assert result.exit_code == 1
    assert result.stdout == (
        "compute-0-0: line 13 (block bootloader): Unknown command: botloader\n"
        "compute-0-1: line 13 (block bootloader): Unknown command: botloader\n"
        "3 nodes checked, 2 wrong\n"
    )
    shown = admin.does("kickstart", "show", "compute-0-1").splitlines()
    assert shown[12] == "botloader --location=mbr"


def test_a_section_is_named_too(admin: Administrator) -> None:
    own = '{% extends "kickstart.j2" %}\n{% block packages %}\n@a --nodefaults\nvim tmux\n{{ super() }}\n{% endblock %}\n'
    site_template(admin, "own.ks.j2", own)
    admin.does("attr", "set", "kickstart", "own.ks.j2", "compute-0-0")
    number = admin.does("kickstart", "show", "compute-0-0").splitlines().index("vim tmux") + 1
    assert admin.run("kickstart", "check", "compute-0-0").stdout.startswith(
        f"compute-0-0: line {number} (%packages, block packages): 'vim tmux' is no package"
    )


def test_what_is_written_by_the_early_stage_and_included_is_read_too(admin: Administrator) -> None:
    own = (
        '{% extends "kickstart.j2" %}\n{% block partitions %}\n%include /tmp/own\n{% endblock %}\n'
        "{% block early %}\ncat >/tmp/own <<'END'\nzerombr\npartition / --bogus\nEND\n{% endblock %}\n"
    )
    site_template(admin, "own.ks.j2", own)
    admin.does("attr", "set", "kickstart", "own.ks.j2", "compute-0-0")
    (row,) = _findings(admin, "compute-0-0")
    shown = admin.does("kickstart", "show", "compute-0-0").splitlines()
    assert shown[row["line"] - 1] == "partition / --bogus"
    assert (row["section"], row["block"]) == ("%pre", "early")
    assert "bogus" in row["fault"]


def test_one_bad_file_is_found_among_good_ones_even_where_it_ends_the_validator(admin: Administrator) -> None:
    site_template(admin, "own.ks.j2", '{% extends "kickstart.j2" %}\n{% block post %}\n%end\n%pre\n{% endblock %}\n')
    site_template(admin, "open.ks.j2", "text\n%pre\nid\n")
    admin.does("attr", "set", "kickstart", "open.ks.j2", "compute-0-1")
    found = _findings(admin, "--all")
    assert {row["node"] for row in found} == {"compute-0-1"}
    assert "does not end with %end" in found[0]["fault"]


def test_a_misspelt_question_is_named_with_the_one_that_it_looks_like(admin: Administrator) -> None:
    own = (
        '{% extends "preseed.j2" %}\n{% block end %}\nd-i partmn/confirm boolean true\nd-i clock-setup/ntp boolean yes\n'
        "d-i time/zone boolean true\nmysql-server mysql-server/start boolean true\nd-i broken\nd-i a/b strng x\n{% endblock %}\n"
    )
    site_template(admin, "own.j2", own)
    admin.does("attr", "set", "distribution", "debian-12", "compute-0-0")
    admin.does("attr", "set", "kickstart", "own.j2", "compute-0-0")
    shown = admin.does("kickstart", "show", "compute-0-0").splitlines()
    found = _findings(admin, "compute-0-0")
    assert [(shown[row["line"] - 1], row["block"], row["fault"]) for row in found] == [
        ("d-i partmn/confirm boolean true", "end", "debian-installer asks no partmn/confirm; partman/confirm is one"),
        ("d-i clock-setup/ntp boolean yes", "end", "clock-setup/ntp is true or false, not 'yes'"),
        ("d-i time/zone boolean true", "end", "time/zone is of type select, not boolean"),
        ("d-i broken", "end", "it is no line of debconf: OWNER QUESTION TYPE VALUE"),
        ("d-i a/b strng x", "end", "there is no type 'strng'"),
    ]


def test_xml_that_is_none_and_xml_that_declares_entities(admin: Administrator) -> None:
    admin.does("attr", "set", "distribution", "suse-15.6", "compute-0-0")
    admin.does("attr", "set", "kickstart", "own.j2", "compute-0-0")
    site_template(admin, "own.j2", "<a>\n<b>\n</a>\n")
    assert [(row["line"], row["fault"]) for row in _findings(admin, "compute-0-0")] == [
        (3, "it is no well-formed XML: mismatched tag")
    ]
    site_template(admin, "own.j2", '<!DOCTYPE a [<!ENTITY x "y">]>\n<a>&x;</a>\n')
    assert [row["fault"] for row in _findings(admin, "compute-0-0")] == ["it declares the entity x"]


def test_a_template_s_own_fault_is_told_with_its_place_and_the_others_are_checked(admin: Administrator) -> None:
    site_template(admin, "own.j2", "text\n{{ nope }}\n")
    admin.does("attr", "set", "kickstart", "own.j2", "compute-0-0")
    result = admin.run("kickstart", "check", "--all")
    assert (result.exit_code, result.stdout) == (
        1, "compute-0-0: own.j2:2: 'nope' is undefined\n3 nodes checked, 1 wrong\n",
    )  # fmt: skip
    assert admin.fails("kickstart", "show", "compute-0-0") == "own.j2:2: 'nope' is undefined"


def test_a_hundred_nodes_of_one_template_are_one_text_to_the_validator(
    admin: Administrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    check = checking.check
    monkeypatch.setattr(checking, "check", lambda texts, version: asked.append(len(texts)) or check(texts, version))
    for rank in range(10, 60):
        admin.does("node", "add", f"compute-0-{rank}", "--mac", f"52:54:00:00:01:{rank}")
    admin.does("attr", "set", "distribution", "rhel-9.4")
    admin.does("attr", "set", "packages", "vim", "compute-0-33")
    assert admin.does("kickstart", "check", "--all").startswith("54 nodes checked: nothing wrong")
    assert asked == [2]


def test_a_missing_validator_says_what_to_install(admin: Administrator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    checking.versions.cache_clear()
    assert "pip install pykickstart" in admin.fails("kickstart", "check", "--all")
    admin.does("attr", "set", "distribution", "ubuntu-24.04", "compute-0-0")
    assert "cloud-init" in admin.fails("kickstart", "check", "compute-0-0")


@pytest.mark.parametrize("words", [(), ("--all", "compute-0-0"), ("--all", "--format", "yaml")])
def test_wrong_words(admin: Administrator, words: tuple[str, ...]) -> None:
    admin.fails("kickstart", "check", *words, status=2)
    assert admin.rows(SecretRow) == []


def _findings(admin: Administrator, *words: str) -> list[dict[str, object]]:
    import json

    result = admin.run("kickstart", "check", *words, "--format", "json")
    assert result.exit_code == 1, result.output
    found: list[dict[str, object]] = json.loads(result.stdout)
    return found
