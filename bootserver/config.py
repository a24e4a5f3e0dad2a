"""Settings: one TOML file, typed, every value checked when it is loaded.

Each section of the file is a frozen dataclass below, each key one of its fields: the field's type says how the value is
read, its default is the one that works. What is wrong is said with file, line and key.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from bootserver.errors import BootserverError
from bootserver.values import grammar

DEFAULT_PATH = Path("/etc/bootserver/bootserver.toml")


class ConfigError(BootserverError):
    """The configuration can't be used; the text names file, line and key."""


class DhcpMode(Enum):
    """Who answers DHCP: we do, we add boot information beside another server, or not at all."""

    SERVER = "server"
    PROXY = "proxy"
    OFF = "off"


def _setting(default: Any, check: Callable[[Any], object] | None = None) -> Any:
    return field(default=default, metadata={"check": check})


def _between(low: float, high: float) -> Callable[[float], object]:
    def check(value: float) -> None:
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}, not {value}")

    return check


def _absolute(path: Path | None) -> None:
    if path is not None and not path.is_absolute():
        raise ValueError(f"must be an absolute path, not {str(path)!r}")


def _logs(sources: tuple[str, ...]) -> None:
    for source in sources:
        if not re.fullmatch(r"/.+|journal:[A-Za-z0-9_@.:][A-Za-z0-9_@.:-]*", source):
            raise ValueError(f"must be absolute paths or journal:UNIT (journal:kea-dhcp4-server), not {source!r}")


_port = _between(1, 65535)


@dataclass(frozen=True, slots=True)
class Frontend:
    """:ivar user: who the parts that face the network run as once their ports are bound."""

    name: str = _setting("frontend", grammar.host_label)
    domain: str = _setting("local", grammar.domain_name)
    state: Path = _setting(Path("/var/lib/bootserver"), _absolute)
    user: str = "bootserver"

    @property
    def tftpboot(self) -> Path:
        return self.state / "tftpboot"

    @property
    def keys(self) -> Path:
        """The frontend's SSH key, by which it reaches nodes as root."""
        return self.state / "keys"

    @property
    def installer_cache(self) -> Path:
        """What the installer is built from and this machine has not installed: a kernel."""
        return self.state / "cache" / "installer"

    @property
    def installer_drivers(self) -> Path:
        """Further drivers that the installer takes along, as a site lists them."""
        return self.state / "installer-modules"

    @property
    def authorized_keys(self) -> Path:
        """Whose keys nodes let in as root."""
        return self.keys / "authorized_keys"

    @property
    def dns(self) -> Path:
        """What a site's DNS server has taken of the cluster's names."""
        return self.state / "dns"

    @property
    def run(self) -> Path:
        """Sockets and the process id of the running service."""
        return self.state / "run"


@dataclass(frozen=True, slots=True)
class Network:
    """The network that nodes boot in; further ones are added by ``bootserver network add``."""

    interface: str = _setting("eth1", grammar.device_name)
    address: IPv4Address = IPv4Address("10.1.1.1")
    subnet: IPv4Network = IPv4Network("10.1.0.0/16")
    gateway: IPv4Address | None = None
    router_advertisement: bool = True


@dataclass(frozen=True, slots=True)
class Dhcp:
    """:ivar no_proxy_wait: tell iPXE not to wait for a proxyDHCP server (option 175.176).
    :ivar site_servers: other DHCP servers that may answer here. Where there are none, each is an alarm in mode "server",
        and any is believed in mode "proxy".
    :ivar look_seconds: how often other DHCP servers are asked for; 0: never, only what is overheard is told of.
    :ivar follow: mode "off": logs of the site's DHCP server, files or journal:UNIT.
    :ivar event_group: mode "off": who may call `bootserver dhcp-event` beside root; Debian's Kea is _kea.
    :ivar hostsdir: dnsmasq's dhcp-hostsdir, where an entry for each node is kept. :ivar dnsmasq_pid_file: who is told then.
    """

    mode: DhcpMode = DhcpMode.SERVER
    port: int = _setting(67, _port)
    lease_seconds: int = _setting(86400, _between(120, 31_536_000))
    no_proxy_wait: bool = True
    site_servers: tuple[IPv4Address, ...] = ()
    look_seconds: int = _setting(900, _between(0, 86400))
    follow: tuple[str, ...] = _setting((), _logs)
    event_group: str = "_kea"
    hostsdir: Path | None = _setting(None, _absolute)
    dnsmasq_pid_file: Path = _setting(Path("/run/dnsmasq/dnsmasq.pid"), _absolute)


@dataclass(frozen=True, slots=True)
class Dns:
    """The cluster's names. The zone is `frontend.domain`.

    :ivar listen: addresses of this machine beside those on the cluster's networks: a site's secondaries reach it there.
    :ivar ttl: seconds that others may remember a name.
    :ivar per_client: answers by UDP a second, for one address.
    :ivar forwarders: who knows all other names; asked for the cluster's own machines only.
    :ivar forward_seconds: for all of them together. :ivar cache: answers of theirs that are remembered.
    :ivar secondaries: who may have the whole zones, and is notified of changes. :ivar transfer_key: what they sign with: a file
        that tsig-keygen or keymgr printed; readable for the service's user, and for no others.
    :ivar update_server: a site's own server that is told of every change. :ivar update_key: likewise a file.
    :ivar update_reverse: tell it reverse names, too.
    """

    enabled: bool = True
    port: int = _setting(53, _port)
    listen: tuple[IPv4Address, ...] = ()
    ttl: int = _setting(60, _between(1, 86400))
    per_client: int = _setting(2000, _between(1, 10_000_000))
    forwarders: tuple[IPv4Address, ...] = ()
    forward_seconds: int = _setting(5, _between(1, 30))
    cache: int = _setting(10_000, _between(0, 1_000_000))
    secondaries: tuple[IPv4Address, ...] = ()
    transfer_key: Path | None = _setting(None, _absolute)
    update_server: IPv4Address | None = None
    update_port: int = _setting(53, _port)
    update_key: Path | None = _setting(None, _absolute)
    update_reverse: bool = True

    @property
    def for_nodes(self) -> bool:
        """Whether nodes can be told to ask the frontend: a resolver asks port 53 and no other."""
        return self.enabled and self.port == 53


@dataclass(frozen=True, slots=True)
class Tftp:
    """:ivar workers: processes that share the port; 0: one for each processor."""

    port: int = _setting(69, _port)
    workers: int = _setting(0, _between(0, 64))
    max_transfers: int = _setting(8000, _between(1, 60000))
    max_per_client: int = _setting(8000, _between(1, 60000))
    max_window: int = _setting(64, _between(1, 65535))


@dataclass(frozen=True, slots=True)
class Http:
    """:ivar threads: of each worker; more than the nodes that download at once (a slow download holds one).
    :ivar boot_files: iPXE and GRUB fetch kernels and ramdisks by HTTP, which is faster than TFTP.
    :ivar public_port: the port in URLs that nodes are given, where a proxy is in front; 0: the same as `port`.
    :ivar behind_nginx: nginx serves files and says so on a socket, and X-Real-IP is believed of a proxy on loopback.
    :ivar nginx_group: who nginx' workers are.
    :ivar tls_port: where the same is answered by HTTPS; 0: nowhere.
    :ivar tls_certificate: PEM, with its chain. :ivar tls_key: PEM; readable for the service's user, and for no others.
    :ivar tls_installers: distributions' installers are told https URLs: they must trust the certificate, for the name or address
        by which they reach the frontend.
    """

    port: int = _setting(80, _port)
    public_port: int = _setting(0, _between(0, 65535))
    workers: int = _setting(1, _between(1, 64))
    threads: int = _setting(1200, _between(4, 20000))
    boot_files: bool = True
    behind_nginx: bool = False
    nginx_group: str = "www-data"
    tls_port: int = _setting(0, _between(0, 65535))
    tls_certificate: Path | None = _setting(None, _absolute)
    tls_key: Path | None = _setting(None, _absolute)
    tls_installers: bool = False

    @property
    def seen_port(self) -> int:
        """Where nodes reach the server."""
        return self.public_port or self.port


@dataclass(frozen=True, slots=True)
class Rsync:
    """:ivar transfers: images that are copied at once; further nodes wait for their turn.
    :ivar stalled_seconds: a node that says nothing for so long gives its turn back.
    """

    port: int = _setting(873, _port)
    transfers: int = _setting(16, _between(1, 1000))
    stalled_seconds: int = _setting(120, _between(10, 3600))


@dataclass(frozen=True, slots=True)
class Database:
    """:ivar url: empty for SQLite below the state directory, else postgresql+psycopg://..."""

    url: str = ""
    keep_events_days: int = _setting(90, _between(1, 36500))


@dataclass(frozen=True, slots=True)
class Install:
    """:ivar ticket_seconds: how long a boot ticket may be exchanged after the menu that held it.
    :ivar attempts: an install that did not end after so many tries is parked.
    :ivar stuck_minutes: one of which nothing was heard for so long is shown as stuck. Distributions' own installers say nothing
        while they unpack packages.
    :ivar kickstarts: made at once by a web worker; who asks meanwhile is told to come again (503, Retry-After).
    """

    ticket_seconds: int = _setting(1800, _between(60, 86400))
    attempts: int = _setting(3, _between(1, 100))
    stuck_minutes: int = _setting(30, _between(1, 1440))
    kickstarts: int = _setting(8, _between(1, 1000))

    @property
    def stuck_seconds(self) -> float:
        return self.stuck_minutes * 60


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, and where they came from."""

    frontend: Frontend = field(default_factory=Frontend)
    network: Network = field(default_factory=Network)
    dhcp: Dhcp = field(default_factory=Dhcp)
    dns: Dns = field(default_factory=Dns)
    tftp: Tftp = field(default_factory=Tftp)
    http: Http = field(default_factory=Http)
    rsync: Rsync = field(default_factory=Rsync)
    database: Database = field(default_factory=Database)
    install: Install = field(default_factory=Install)
    path: Path = DEFAULT_PATH


def default_path() -> Path:
    """``BOOTSERVER_CONFIG``, else the usual place."""
    return Path(os.environ.get("BOOTSERVER_CONFIG") or DEFAULT_PATH)


def load(path: Path) -> Config:
    """Read a configuration.

    :raises ConfigError: the file can't be read, is no TOML, or holds a key or value that is not known.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no configuration at {path}: make one with `bootserver init --interface IF`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from error
    return parse(text, path)


def parse(text: str, path: Path) -> Config:
    """The same for a text; `path` is for messages."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: no TOML: {error}") from error
    hints = typing.get_type_hints(Config)
    sections: dict[str, Any] = {"path": path}
    for name, table in document.items():
        section = hints.get(name)
        if not isinstance(section, type) or not dataclasses.is_dataclass(section):
            known = ", ".join(key for key in hints if key != "path")
            raise ConfigError(f"{path}:{_line(text, name, None)}: unknown section [{name}]; there are {known}")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}:{_line(text, '', name)}: {name} is a section: write [{name}]")
        sections[name] = _section(section, name, table, text, path)
    config = Config(**sections)
    if config.http.tls_port and not (config.http.tls_certificate and config.http.tls_key):
        line = _line(text, "http", "tls_port")
        raise ConfigError(f"{path}:{line}: http.tls_port wants http.tls_certificate and http.tls_key, two files in PEM form")
    if config.http.tls_installers and not config.http.tls_port:
        raise ConfigError(f"{path}:{_line(text, 'http', 'tls_installers')}: http.tls_installers wants an http.tls_port")
    _check_dns(config, text, path)
    if config.network.address not in config.network.subnet:
        line = _line(text, "network", "address")
        raise ConfigError(
            f"{path}:{line}: network.address {config.network.address} is not in network.subnet {config.network.subnet}"
        )
    return config


def _check_dns(config: Config, text: str, path: Path) -> None:
    """What of [dns] only makes sense together."""
    dns = config.dns
    if dns.secondaries and dns.transfer_key is None:
        line = _line(text, "dns", "secondaries")
        raise ConfigError(f"{path}:{line}: dns.secondaries wants dns.transfer_key, a TSIG key's file (tsig-keygen prints one)")
    if dns.update_server is not None and dns.update_key is None:
        line = _line(text, "dns", "update_server")
        raise ConfigError(f"{path}:{line}: dns.update_server wants dns.update_key, a TSIG key's file (tsig-keygen prints one)")
    if config.network.address in dns.forwarders or set(dns.listen) & set(dns.forwarders):
        raise ConfigError(
            f"{path}:{_line(text, 'dns', 'forwarders')}: dns.forwarders names this server itself: it would ask for ever"
        )


def _section(section: type, name: str, table: dict[str, Any], text: str, path: Path) -> Any:
    hints = typing.get_type_hints(section)
    checks = {item.name: item.metadata.get("check") for item in dataclasses.fields(section)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        where = f"{path}:{_line(text, name, key)}: {name}.{key}"
        if key not in hints:
            raise ConfigError(f"{where} is no setting; [{name}] has {', '.join(hints)}")
        try:
            values[key] = _convert(hints[key], value)
            check = checks[key]
            if check is not None:
                check(values[key])
        except (ValueError, BootserverError) as error:
            raise ConfigError(f"{where}: {error}") from error
    return section(**values)


def _convert(kind: Any, value: Any) -> Any:
    """A TOML value as the type of its field. :raises ValueError: it is not one."""
    if isinstance(kind, types.UnionType):  # "IPv4Address | None": an empty text is None
        if value == "":
            return None
        kind = next(option for option in typing.get_args(kind) if option is not type(None))
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"must be a list in brackets, not {value!r}")
        return tuple(_convert(typing.get_args(kind)[0], each) for each in value)
    if kind in (bool, int, str):
        if type(value) is not kind:
            raise ValueError(f"must be {_KIND_NAMES[kind]}, not {value!r}")
        return value
    if not isinstance(value, str):
        raise ValueError(f"must be a text in quotes, not {value!r}")
    if issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"must be one of {', '.join(member.value for member in kind)}, not {value!r}") from None
    return kind(value)


_KIND_NAMES = {bool: "true or false", int: "a whole number", str: "a text in quotes"}


def _line(text: str, section: str, key: str | None) -> int:
    """The line that a key stands on; tomllib does not tell (1 where it can't be found, as with dotted or inline tables)."""
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\]]+?)\s*\]", line)
        if header:
            current = header.group(1)
            if key is None and current == section:
                return number
        elif key is not None and current == section and re.match(rf'\s*["\']?{re.escape(key)}["\']?\s*=', line):
            return number
    return 1
