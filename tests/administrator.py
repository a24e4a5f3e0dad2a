"""An administrator at a frontend: a cluster of its own, and the real command to type."""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from bootserver.cli.main import cli
from bootserver.cluster import journal
from bootserver.cluster.change import open_change, open_reader
from bootserver.cluster.events import Event
from bootserver.cluster.seed import seed
from bootserver.config import Config, load
from bootserver.db.connection import Databases, open_databases
from bootserver.db.migrate import migrate
from bootserver.db.rows import DistributionRow, ImageRow, NodeRow, Row

CONFIG = '[frontend]\nstate = "{state}"\nname = "frontend"\n[network]\ninterface = "eth1"\n'


class Administrator:
    """:ivar folder: what ``/etc/bootserver`` and ``/var/lib/bootserver`` are elsewhere."""

    def __init__(self, folder: Path, template: Path | None = None) -> None:
        """
        :param template: the folder of a cluster that was just made, to be copied (a migration takes half a second).
        """
        self.folder = folder
        self.config_path = folder / "bootserver.toml"
        self.config_path.write_text(CONFIG.format(state=folder))
        if template is not None:
            shutil.copytree(template / "db", folder / "db")
        else:
            migrate(self.config)
            with open_change(self.databases.cluster, "test", "seed") as change:
                seed(change, self.config)
        self.tftpboot.mkdir()

    @cached_property
    def config(self) -> Config:
        return load(self.config_path)

    @cached_property
    def databases(self) -> Databases:
        return open_databases(self.config)

    @property
    def tftpboot(self) -> Path:
        return self.folder / "tftpboot"

    def run(self, *words: str, typing: str | None = None) -> Result:
        """Type ``bootserver WORDS``. :param typing: what stands on standard input."""
        return CliRunner().invoke(cli, ["--config", str(self.config_path), *words], input=typing, prog_name="bootserver")

    def does(self, *words: str) -> str:
        """Type it, and it works. :returns: what was printed."""
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def fails(self, *words: str, status: int = 1) -> str:
        """Type it, and it does not work. :returns: the one line that says why."""
        result = self.run(*words)
        assert result.exit_code == status, (result.exit_code, result.output)
        assert result.stderr.startswith("bootserver: ")
        assert result.stderr.count("\n") == 1, result.stderr
        assert "\x1b" not in result.stderr
        return result.stderr.removeprefix("bootserver: ").strip()

    def lists(self, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.does(*words, "--format", "json"))
        return found

    def rows(self, kind: type[Row], where: str = "", **values: Any) -> list[Any]:
        with open_reader(self.databases.cluster) as reader:
            return list(reader.rows(kind, where, **values))

    def node(self, name: str) -> NodeRow:
        (row,) = self.rows(NodeRow, "name = :name", name=name)
        assert isinstance(row, NodeRow)
        return row

    def changes(self) -> int:
        with self.databases.cluster.read() as connection:
            count: int = connection.rows("SELECT count(*) AS count FROM change")[0]["count"]
            return count

    def happened(self, *events: Event) -> None:
        with self.databases.journal.write() as connection:
            journal.append(connection, events)

    def has_image(self, name: str = "golden") -> None:
        """An image, and our installer to copy it."""
        with open_change(self.databases.cluster, "test", "image") as change:
            change.insert(ImageRow(0, name))
        self.has_file("installer/vmlinuz")
        self.has_file("installer/initrd.img")

    def has_distribution(self, name: str, kind: str = "preseed", version: str = "12", *, tree: str = "") -> None:
        """A distribution in the database; its kernel and ramdisk are not below tftpboot."""
        facts = (kind, "debian", "Debian GNU/Linux 12 (bookworm)", version, "x86_64", tree)
        with open_change(self.databases.cluster, "test", "distribution") as change:
            change.insert(DistributionRow(0, name, f"{name}/vmlinuz", (f"{name}/initrd.gz",), "auto=true", *facts))

    def has_file(self, path: str, content: bytes = b"x") -> None:
        target = self.tftpboot / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
