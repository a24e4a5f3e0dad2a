"""Makes this machine a frontend: configuration, user, folders, databases, boot loaders. Can be run again at any time."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from bootserver import config as configuration
from bootserver import data
from bootserver.cluster import seed
from bootserver.cluster.change import open_change
from bootserver.config import Config
from bootserver.db.backup import backup_path
from bootserver.db.connection import SqliteDatabase, open_databases
from bootserver.db.migrate import migrate
from bootserver.errors import Refused, Unavailable, UsageError
from bootserver.install.ramdisk.build import build
from bootserver.netboot.placing import place_loaders
from bootserver.service import iproute
from bootserver.service.access import make_keys

Say = Callable[[str], None]

_SITE_FOLDERS = (
    "overrides", "overrides/all", "overrides/appliance", "overrides/node",
    "scripts", "scripts/pre-install", "scripts/post-install",
)  # fmt: skip
"""What a site puts there may be no business of the frontend's users: the service reads it by its group."""
UNIT = Path("/etc/systemd/system/bootserver.service")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What ``init`` was told; the rest it finds out.

    :ivar installer: build the ramdisk that installs nodes.
    """

    interface: str | None = None
    state: Path | None = None
    user: str | None = None
    domain: str | None = None
    installer: bool = True


def initialise(path: Path, wishes: Wishes, say: Say) -> Config:
    """Do what is not done yet.

    :param path: the configuration.
    :param say: told each step.
    :raises BootserverError: a step can't be done; those before it are, and running it again goes on from there.
    """
    config = _configuration(path, wishes, say)
    _check_lost_database(config)
    owner = _user(config.frontend.user, config.frontend.state, say)
    _folders(config, owner)
    make_keys(config, say)
    migrate(config)
    with open_change(open_databases(config).cluster, "init", f"init --interface {config.network.interface}") as change:
        seed.seed(change, config)
    say(f"database up to date: {config.database.url or config.frontend.state / 'db'}")
    if owner is not None and not config.database.url:
        for file in (config.frontend.state / "db").iterdir():
            os.chown(file, owner.pw_uid, owner.pw_gid)
    _loaders(config, say)
    if wishes.installer:
        _installer(config, say)
    _unit(config, say)
    return config


# -- configuration -----------------------------------------------------------------------------------------------


def _configuration(path: Path, wishes: Wishes, say: Say) -> Config:
    if path.exists():
        config = configuration.load(path)
        _agree(path, "network.interface", config.network.interface, wishes.interface)
        _agree(path, "frontend.state", config.frontend.state, wishes.state)
        _agree(path, "frontend.user", config.frontend.user, wishes.user)
        _agree(path, "frontend.domain", config.frontend.domain, wishes.domain)
        say(f"configuration kept: {path}")
        return config
    interface, address = _choose(wishes.interface)
    defaults = Config()
    text = f"""\
# bootserver's configuration. What is not written here has its default; docs/reference/configuration.md lists every key.
[frontend]
name = "frontend"
domain = "{wishes.domain or defaults.frontend.domain}"
state = "{wishes.state or defaults.frontend.state}"
user = "{wishes.user or defaults.frontend.user}"

[network]
interface = "{interface}"
address = "{address.ip}"
subnet = "{address.network}"

[dhcp]
mode = "server"
"""
    config = configuration.parse(text, path)  # refuses what was typed wrongly before anything is written
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(path.name + ".new")
        aside.write_text(text)
        aside.replace(path)
    except OSError as error:
        raise Unavailable(
            f"{path} can't be written ({error.strerror}): run it as root, or name another file with --config"
        ) from error
    say(f"configuration written: {path} (interface {interface}, address {address.ip}, subnet {address.network})")
    return config


def _agree(path: Path, key: str, is_now: object, wished: object) -> None:
    if wished is not None and str(wished) != str(is_now):
        raise Refused(f"{path} says {key} = {str(is_now)!r}, not {str(wished)!r}: edit it there, and run init again")


def _choose(wished: str | None) -> tuple[str, IPv4Interface]:
    """The interface that nodes are on, and its address."""
    candidates = _interfaces()
    if wished is not None:
        if wished not in candidates:
            raise UsageError(f"there is no interface {wished!r} with an IPv4 address; there are {_list(candidates)}")
        return wished, candidates[wished]
    outside = _default_route_interface()
    inside = {name: address for name, address in candidates.items() if name != outside} or candidates
    if len(inside) != 1:
        raise UsageError(f"which interface are the nodes on? --interface NAME; there are {_list(candidates)}")
    return next(iter(inside.items()))


def _interfaces() -> dict[str, IPv4Interface]:
    """Interfaces with an IPv4 address, loopback left out."""
    found = {}
    for link in iproute.ask("-4", "addr", "show"):
        for each in link.get("addr_info", ()):
            if "LOOPBACK" not in link["flags"] and each.get("scope") == "global" and link["ifname"] not in found:
                found[link["ifname"]] = IPv4Interface(f"{each['local']}/{each['prefixlen']}")
    return found


def _default_route_interface() -> str | None:
    return next((route.get("dev") for route in iproute.ask("-4", "route", "show", "default")), None)


def _list(candidates: dict[str, IPv4Interface]) -> str:
    return ", ".join(f"{name} ({address})" for name, address in candidates.items()) or "none"


# -- user and folders --------------------------------------------------------------------------------------------


def _user(name: str, home: Path, say: Say) -> pwd.struct_passwd | None:
    """Who the service runs as; made if need be. None where we are no root: the service stays who it is."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(name)
    except KeyError:
        pass
    made = subprocess.run(
        [
            "useradd",
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            str(home),
            "--shell",
            "/usr/sbin/nologin",
            name,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise Unavailable(f"user {name!r} can't be made: {made.stderr.strip()}")
    say(f"user made: {name}")
    return pwd.getpwnam(name)


def _folders(config: Config, owner: pwd.struct_passwd | None) -> None:
    """What is served is root's; what the service writes is the service's."""
    state = config.frontend.state
    try:
        for folder, mode in (
            (state, 0o755),
            (config.frontend.tftpboot, 0o755),
            (state / "kickstart", 0o755),
            (state / "images", 0o711),  # the service finds an image by its name, and nobody lists them
            *((state / name, 0o750) for name in _SITE_FOLDERS),
            (config.frontend.keys, 0o755),
            (state / "db", 0o700),
            (config.frontend.dns, 0o700),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)
        config.frontend.run.mkdir(exist_ok=True)
        if owner is not None:
            for folder in (state / "db", config.frontend.dns):
                os.chown(folder, owner.pw_uid, owner.pw_gid)
            for name in _SITE_FOLDERS:
                os.chown(state / name, 0, owner.pw_gid)
    except OSError as error:
        raise Unavailable(f"{error.filename} can't be made: {error.strerror}") from error


def _check_lost_database(config: Config) -> None:
    """A new database in a lost one's place would be copied over its last good copy within a minute."""
    database = SqliteDatabase(config.frontend.state / "db" / "cluster.sqlite")
    copy = backup_path(database)
    if not config.database.url and copy.exists() and not database.path.exists():
        raise Refused(
            f"{database.path} is gone, and its last good copy is there: `bootserver restore --backup` takes it; "
            f"to begin anew, move {copy} away"
        )


def _unit(config: Config, say: Say) -> None:
    """The systemd unit of this very installation; only for the usual configuration, and where systemd runs."""
    if config.path != configuration.DEFAULT_PATH or os.geteuid() != 0 or not Path("/run/systemd/system").is_dir():
        return
    text = (data.folder("systemd") / UNIT.name).read_text()
    text = text.replace("/usr/bin/env bootserver serve", f"{sys.executable} -m bootserver serve")
    if config.frontend.state != Config().frontend.state:
        text = text.replace("StateDirectory=bootserver\n", f"ReadWritePaths={config.frontend.state}\n")
    if UNIT.exists() and UNIT.read_text() == text:
        return
    UNIT.write_text(text)
    subprocess.run(["systemctl", "daemon-reload"], check=False)
    say(f"systemd unit written: {UNIT}")


def _loaders(config: Config, say: Say) -> None:
    try:
        report = place_loaders(config.frontend.tftpboot)
    except OSError as error:
        raise Unavailable(f"{error.filename} can't be written: {error.strerror}") from error
    say(f"boot loaders: {len(report.placed)} placed, {len(report.up_to_date)} up to date, {len(report.missing)} missing")
    for lacking in report.missing:
        say(f"  missing: {lacking.name} (package {lacking.package}): {lacking.why}")
    if report.missing:
        say(f"  install them, then run init again: apt-get install {' '.join(report.packages)}")


def _installer(config: Config, say: Say) -> None:
    """One that can't be built is said, and no reason to stop: images and rescue need it, all else does not."""
    try:
        report = build(
            config.frontend.tftpboot, config.frontend.installer_cache, drivers=config.frontend.installer_drivers, say=say
        )
    except Unavailable as error:
        say(f"installer: missing: {error}")
        return
    what = f"built in {report.seconds:.1f} s" if report.fresh else "up to date"
    say(f"installer: {what} (kernel {report.kernel}, ramdisk {report.ramdisk_size / 1e6:.1f} MB, {report.modules} drivers)")
    for lacking in report.missing_programs:
        say(f"  missing: {lacking}")
