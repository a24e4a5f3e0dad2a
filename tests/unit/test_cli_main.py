"""The command as a process: help, errors, exit statuses, what it imports, what a shell completes."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bootserver import __version__
from bootserver.cli.main import SECTIONS, cli
from bootserver.cli.table import show
from tests.administrator import Administrator

SLOW = ("sqlalchemy", "alembic", "flask", "rich", "jinja2", "ClusterShell")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Administrator(tmp_path_factory.mktemp("template")).folder


@pytest.fixture
def admin(tmp_path: Path, template: Path) -> Administrator:
    return Administrator(tmp_path, template)


def process(*words: str, config: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """`bootserver WORDS` as a process of its own."""
    given = os.environ | environment | ({} if config is None else {"BOOTSERVER_CONFIG": str(config)})
    return subprocess.run([sys.executable, "-m", "bootserver", *words], env=given, capture_output=True, text=True, check=False)


def test_version_and_help_need_no_configuration() -> None:
    assert process("--version", config=Path("/nonexistent")).stdout == f"bootserver {__version__}\n"
    help_text = process("--help", config=Path("/nonexistent")).stdout
    assert all(name in help_text for section in SECTIONS.values() for name in section)


def test_what_is_wrong_is_one_line_and_a_status(admin: Administrator) -> None:
    for words, status, text in (
        (("nod", "list"), 2, "bootserver: no command 'nod'; did you mean 'node'? (see `bootserver --help`)\n"),
        (("node", "list", "--nope"), 2, "bootserver: No such option '--nope'. (see `bootserver node list --help`)\n"),
        (("node", "show", "nobody"), 1, "bootserver: no node 'nobody': `bootserver node list` shows them\n"),
        (("node", "show", "x[1-"), 2, None),
    ):
        result = process(*words, config=admin.config_path)
        assert (result.returncode, result.stdout) == (status, "")
        assert result.stderr.count("\n") == 1
        assert text is None or result.stderr == text


def test_a_missing_or_wrong_configuration_says_which_file(tmp_path: Path) -> None:
    missing = process("node", "list", config=tmp_path / "none.toml")
    assert missing.returncode == 1
    assert missing.stderr == (
        f"bootserver: no configuration at {tmp_path / 'none.toml'}: make one with `bootserver init --interface IF`\n"
    )
    (tmp_path / "bad.toml").write_text("[tftp]\nport = 70000\n")
    wrong = process("--config", str(tmp_path / "bad.toml"), "node", "list")
    assert wrong.stderr.startswith(f"bootserver: {tmp_path / 'bad.toml'}:2: tftp.port")


def test_a_traceback_only_for_those_who_ask(admin: Administrator) -> None:
    assert "Traceback" not in process("node", "show", "nobody", config=admin.config_path).stderr
    assert "Traceback" in process("--verbose", "node", "show", "nobody", config=admin.config_path).stderr


def test_a_defect_of_ours_is_told_as_one(admin: Administrator, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("x\ny")

    monkeypatch.setattr("bootserver.cluster.selection.select", broken)
    assert admin.fails("node", "list").startswith("a defect of bootserver: KeyError")


def test_a_reader_that_goes_away_is_no_error(admin: Administrator) -> None:
    command = f"{sys.executable} -m bootserver node list --format json | true"
    environment = os.environ | {"BOOTSERVER_CONFIG": str(admin.config_path)}
    result = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert result.stderr == ""


@pytest.mark.parametrize(
    "words", [["--help"], ["node", "list"], ["node", "show", "compute-0-0"], ["pxe", "set", "compute-0-0", "os"], ["dump"]]
)
def test_a_quick_command_imports_nothing_slow(admin: Administrator, words: list[str]) -> None:
    admin.does("node", "add", "compute-0-0")
    script = (
        "import sys; from bootserver.cli.main import cli\n"
        f"try: cli.main({words!r})\nexcept SystemExit as end: assert not end.code, end.code\n"
        f"print([name for name in {SLOW!r} if name in sys.modules], file=sys.stderr)"
    )
    environment = os.environ | {"BOOTSERVER_CONFIG": str(admin.config_path)}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert result.stderr == "[]\n"


def every_command() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []

    def walk(path: str, command: click.Command) -> None:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                walk(f"{path} {name}", child)
        else:
            found.append((path, command))

    walk("bootserver", cli)
    return found


def test_the_help_of_every_command_has_an_example_that_is_one() -> None:
    for path, command in every_command():
        examples = [line.strip() for line in (command.help or "").splitlines() if line.strip().startswith("bootserver ")]
        assert any(line.startswith((path, "bootserver --config")) for line in examples), path


def test_lists_come_as_json_and_csv_too(admin: Administrator) -> None:
    admin.does("node", "add", "compute-0-0", "--comment", 'a,"b"')
    table = list(csv.DictReader(io.StringIO(admin.does("node", "list", "--format", "csv"))))
    assert table[0]["node"] == "compute-0-0"
    assert table[0]["mac"] == ""
    assert admin.lists("node", "list")[0]["mac"] is None
    assert admin.lists("events") == []
    assert admin.does("events") == ""


def test_a_table_never_sends_a_terminal_anything_but_text(capsys: pytest.CaptureFixture[str]) -> None:
    for format_ in ("table", "csv", "json"):
        show(("NAME", "VENDOR"), [("a\nb", "\x1b]0;title\x07\u202egnp.exe\x9b2J")], format_)
        printed = capsys.readouterr().out
        assert all(character.isprintable() or character == "\n" for character in printed)
        if format_ == "table":
            assert printed == "NAME  VENDOR\na?b   ?]0;title??gnp.exe?2J\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    assert "_BOOTSERVER_COMPLETE" in process("completion", shell).stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("bootserver no", {"node"}),
        ("bootserver node sh", {"show"}),
        ("bootserver node show compute-0-", {"compute-0-0", "compute-0-1"}),
        ("bootserver pxe set compute-0-0 inst", {"install", "install headless"}),
        ("bootserver node add --appliance lo", {"login"}),
        ("bootserver pxe action remove li", {"live"}),
    ],
)
def test_names_are_completed_from_the_database(admin: Administrator, line: str, offered: set[str]) -> None:
    admin.has_file("k")
    admin.does("node", "add")
    admin.does("node", "add")
    admin.does("pxe", "action", "add", "live", "--kernel", "k")
    words = line.split(" ")
    result = process(
        config=admin.config_path, _BOOTSERVER_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1)
    )
    assert {each.split(",", 1)[1] for each in result.stdout.splitlines()} == offered


def test_completion_offers_nothing_and_says_nothing_without_a_database(tmp_path: Path) -> None:
    result = process(
        config=tmp_path / "none", _BOOTSERVER_COMPLETE="bash_complete", COMP_WORDS="bootserver node show c", COMP_CWORD="3"
    )
    assert (result.stdout.strip(), result.stderr) == ("", "")


@pytest.mark.parametrize(("answer", "left"), [("n", 1), ("y", 0)])
def test_on_a_terminal_a_person_is_asked(admin: Administrator, answer: str, left: int) -> None:
    admin.does("node", "add", "compute-0-0")
    main, terminal = os.openpty()
    command = [sys.executable, "-m", "bootserver", "--config", str(admin.config_path), "node", "remove", "compute-0-0"]
    asking = subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.write(main, f"{answer}\n".encode())
    _, said = asking.communicate(timeout=60)
    os.close(main)
    os.close(terminal)
    assert "Remove compute-0-0? [y/N]" in said
    assert asking.returncode == left
    assert len(admin.lists("node", "list")) == left
