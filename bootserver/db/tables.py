"""The tables: keys, constraints and indexes, for the migrations. Two sets, which SQLite keeps in two files: what
administrators change, and what nodes do (events and leases), so that a flood of the second never touches the first."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

cluster = MetaData()
journal = MetaData()


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


Table(
    "appliance",
    cluster,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("base_name", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("installs", Integer, nullable=False),
)
Table(
    "network",
    cluster,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("subnet", Text, nullable=False, unique=True),
    Column("device", Text),
    Column("frontend", Text, nullable=False),
    Column("gateway", Text),
    Column("nameservers", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("vlan", Integer),
)
Table(
    "node",
    cluster,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("appliance_id", ForeignKey("appliance.id"), nullable=False),
    Column("rack", Integer, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("cpus", Integer, nullable=False),
    Column("action", Text),
    Column("uuid", Text, unique=True),
    Column("comment", Text, nullable=False),
    Column("discovery_id", Integer),
    Column("created", Text, nullable=False),
    Index("node_by_place", "appliance_id", "rack", "rank"),
)
Table(
    "interface",
    cluster,
    _id(),
    Column("node_id", ForeignKey("node.id"), nullable=False, index=True),
    Column("device", Text, nullable=False),
    Column("mac", Text, unique=True),
    Column("ip", Text, unique=True),
    Column("network_id", ForeignKey("network.id"), nullable=False),
    UniqueConstraint("node_id", "device"),
)
Table(
    "attribute",
    cluster,
    _id(),
    Column("scope", Text, nullable=False),
    Column("owner", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    UniqueConstraint("scope", "owner", "key"),
)
Table(
    "boot_action",
    cluster,
    _id(),
    Column("name", Text, nullable=False),
    Column("node_id", ForeignKey("node.id")),
    Column("kernel", Text),
    Column("initrds", Text, nullable=False),
    Column("args", Text, nullable=False),
    Column("local_disk", Integer, nullable=False),
    Column("floppy", Text),
    UniqueConstraint("node_id", "name"),
)
Table(
    "distribution",
    cluster,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("kernel", Text, nullable=False),
    Column("initrds", Text, nullable=False),
    Column("args", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default=""),
    Column("family", Text, nullable=False, server_default=""),
    Column("title", Text, nullable=False, server_default=""),
    Column("version", Text, nullable=False, server_default=""),
    Column("architecture", Text, nullable=False, server_default=""),
    Column("tree", Text, nullable=False, server_default=""),
)
Table("image", cluster, _id(), Column("name", Text, nullable=False, unique=True))
Table(
    "install",
    cluster,
    _id(),
    Column("node_id", ForeignKey("node.id"), nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("wipe", Integer, nullable=False),
    Column("nonces", Text, nullable=False),
    Column("phase", Text),
    Column("parked", Text),
    Column("armed", Text, nullable=False),
    Column("image", Text),
    Column("distribution", Text),
)
Table(
    "secret",
    cluster,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("value", Text, nullable=False),
)
Table(
    "discovery",
    cluster,
    _id(),
    # 1 or NULL: unique, so that one discovery is open at a time, whoever asks
    Column("open", Integer, unique=True),
    Column("appliance_id", ForeignKey("appliance.id"), nullable=False),
    Column("network_id", ForeignKey("network.id"), nullable=False),
    Column("rack", Integer, nullable=False),
    Column("rank", Integer),
    Column("mac", Text),
    Column("replace_id", Integer),
    Column("base_name", Text),
    Column("base_ip", Text),
    Column("step", Integer, nullable=False),
    Column("count", Integer),
    Column("max_new", Integer, nullable=False),
    Column("confirm", Integer, nullable=False),
    Column("by", Text, nullable=False),
    Column("opened", Text, nullable=False),
    Column("expires", Float, nullable=False),
    Column("inserted", Integer, nullable=False),
    Column("closed", Text),
    CheckConstraint("open = 1", name="discovery_open"),
)
Table(
    "change",
    cluster,
    Column("sequence", Integer, primary_key=True),
    Column("at", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("undoes", Integer),
)
Table(
    "change_row",
    cluster,
    _id(),
    Column("sequence", ForeignKey("change.sequence"), nullable=False, index=True),
    Column("table_name", Text, nullable=False),
    Column("row_id", Integer, nullable=False),
    Column("before", Text),
    Column("after", Text),
)

Table(
    "event",
    journal,
    _id(),
    Column("at", Float, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("node", Text),
    Column("mac", Text),
    Column("detail", Text, nullable=False),
    Index("event_by_node", "node", "id"),
    Index("event_by_mac", "mac", "id"),
)
Table(
    "lease",
    journal,
    Column("mac", Text, primary_key=True),
    Column("ip", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("starts", Float, nullable=False),
    Column("ends", Float, nullable=False),
)
Table(
    "inventory",
    journal,
    Column("node", Text, primary_key=True),
    Column("at", Float, nullable=False),
    Column("body", Text, nullable=False),
)
Table(
    "transfer",
    journal,
    Column("node", Text, primary_key=True),
    Column("install", Integer, nullable=False),
    Column("asked", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("opened", Float),
    Column("closed", Float),
)
