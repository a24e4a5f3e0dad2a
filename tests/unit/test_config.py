"""The configuration: what is wrong is said with file, line and key, and never in a traceback."""

from __future__ import annotations

import dataclasses
import tomllib
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootserver import config
from bootserver.config import Config, ConfigError, DhcpMode, load, parse
from bootserver.errors import BootserverError

PATH = Path("/etc/bootserver/bootserver.toml")

# The file, the line that is blamed, and words of what is said.
WRONG = {
    "an unknown section": ("[frontend]\n[frontent]\n", 2, "unknown section [frontent]; there are frontend, network"),
    "an unknown key": ("[dhcp]\n\nmdoe = 'off'\n", 3, "dhcp.mdoe is no setting; [dhcp] has mode, port"),
    "a key outside of sections": ("port = 69\n", 1, "unknown section [port]"),
    "a section that is a value": ("frontend = 'x'\n", 1, "frontend is a section: write [frontend]"),
    "the file's own path as a section": ("[path]\n", 1, "unknown section [path]"),
    "a text for a number": ("[tftp]\nport = '69'\n", 2, "tftp.port: must be a whole number, not '69'"),
    "a truth for a number": ("[tftp]\nport = true\n", 2, "tftp.port: must be a whole number, not True"),
    "a number for a truth": ("[dns]\nenabled = 1\n", 2, "dns.enabled: must be true or false, not 1"),
    "a number for a text": ("[frontend]\nname = 7\n", 2, "frontend.name: must be a text in quotes, not 7"),
    "a number for a path": ("[frontend]\nstate = 7\n", 2, "frontend.state: must be a text in quotes, not 7"),
    "a relative path": ("[frontend]\nstate = 'var'\n", 2, "frontend.state: must be an absolute path, not 'var'"),
    "a port too high": ("[http]\nport = 65536\n", 2, "http.port: must be from 1 to 65535, not 65536"),
    "a port too low": ("[http]\nport = 0\n", 2, "http.port: must be from 1 to 65535, not 0"),
    "too short a lease": ("[dhcp]\nlease_seconds = 1\n", 2, "dhcp.lease_seconds: must be from 120"),
    "an unknown mode": ("[dhcp]\nmode = 'proxi'\n", 2, "dhcp.mode: must be one of server, proxy, off, not 'proxi'"),
    "no address": ("[network]\naddress = '10.1.1.256'\n", 2, "network.address: "),
    "no subnet": ("[network]\n# a comment\nsubnet = '10.1.0.1/16'\n", 3, "network.subnet: 10.1.0.1/16 has host bits set"),
    "an address of elsewhere": ("[network]\nsubnet = '10.2.0.0/16'\naddress = '10.1.1.1'\n", 3, "is not in network.subnet"),
    "a name in capitals": ("[frontend]\nname = 'FRONTEND'\n", 2, "frontend.name: 'FRONTEND' is no name"),
    "a newline in a name": ('[frontend]\nname = "a\\nb"\n', 2, "frontend.name: "),
    "a list for a text": ("[frontend]\nname = ['a']\n", 2, "frontend.name: must be a text in quotes"),
    "a key in quotes": ("[http]\n'thread' = 7\n", 2, "http.thread is no setting"),
    "an indented key": ("[http]\n   threads = 1\n", 2, "http.threads: must be from 4 to 20000"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_with_file_line_and_key(text: str, line: int, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, PATH)
    assert str(caught.value).startswith(f"{PATH}:{line}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[frontend", "a = ", "[a]\n[a]\n", 'a = "\n'])
def test_what_is_no_toml_is_said_with_the_line(text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{PATH}: no TOML: .*(line|end of document)"):
        parse(text, PATH)


def test_an_empty_file_is_all_defaults() -> None:
    assert parse("", PATH) == Config(path=PATH)


def test_every_default_passes_its_own_check() -> None:
    lines = []
    for section in dataclasses.fields(Config):
        if section.name == "path":
            continue
        lines.append(f"[{section.name}]")
        values = getattr(Config(), section.name)
        for key in dataclasses.fields(values):
            value = getattr(values, key.name)
            value = "" if value is None else value.value if isinstance(value, DhcpMode) else value
            if isinstance(value, bool):
                lines.append(f"{key.name} = {str(value).lower()}")
            elif isinstance(value, tuple):
                lines.append(f"{key.name} = {[str(each) for each in value]}")
            else:
                lines.append(f"{key.name} = {value}" if isinstance(value, int) else f'{key.name} = "{value}"')
    assert parse("\n".join(lines), PATH) == Config(path=PATH)


def test_values_have_their_types() -> None:
    text = "[network]\naddress='10.2.0.1'\nsubnet='10.2.0.0/24'\ngateway='10.2.0.254'\n"
    text += "[dhcp]\nmode='proxy'\n[frontend]\nstate='/srv'\n"
    read = parse(text, PATH)
    assert read.network.address == IPv4Address("10.2.0.1")
    assert read.network.subnet == IPv4Network("10.2.0.0/24")
    assert read.network.gateway == IPv4Address("10.2.0.254")
    assert read.dhcp.mode is DhcpMode.PROXY
    assert read.frontend.tftpboot == Path("/srv/tftpboot")


def test_an_empty_gateway_is_none() -> None:
    assert parse("[network]\ngateway = ''\n", PATH).network.gateway is None


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bootserver init --interface IF"):
        load(tmp_path / "none.toml")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    folder, latin = tmp_path / "folder.toml", tmp_path / "latin.toml"
    folder.mkdir()
    latin.write_bytes(b"[frontend]\nname = 'caf\xe9'\n")
    for path in (folder, latin):
        with pytest.raises(ConfigError, match=f"^{path} can't be read"):
            load(path)


def test_the_environment_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTSERVER_CONFIG", "/srv/test.toml")
    assert config.default_path() == Path("/srv/test.toml")
    monkeypatch.setenv("BOOTSERVER_CONFIG", "")
    assert config.default_path() == config.DEFAULT_PATH


toml_values = st.one_of(
    st.text(max_size=20), st.integers(), st.booleans(), st.floats(), st.dates(), st.lists(st.integers(), max_size=2)
)


@given(
    st.sampled_from([section.name for section in dataclasses.fields(Config)] + ["nowhere"]),
    st.sampled_from(
        ["name", "domain", "state", "port", "mode", "address", "subnet", "gateway", "interface", "enabled", "url", "no"]
    ),
    toml_values,
)
def test_whatever_is_written_is_read_or_refused_in_one_line(section: str, key: str, value: object) -> None:
    text = f"[{section}]\n{key} = {_toml(value)}\n"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    try:
        parse(text, PATH)
    except BootserverError as error:
        assert str(error).startswith(f"{PATH}:")


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'
    return str(value)
