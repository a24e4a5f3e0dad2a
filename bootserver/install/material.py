"""All that a node's install is made from, and what comes of it: its script, the site's scripts, its own files.

One case is gathered for each request, from the same facts, and UUIDs come from a seed: so a node's script and its files, which
are fetched minutes apart, speak of the same disks, and nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bootserver.cluster import attributes
from bootserver.cluster.view import NodeView
from bootserver.install import overrides, render, site_scripts
from bootserver.install.entries import Entry
from bootserver.install.inventory import Inventory
from bootserver.install.links import with_cards
from bootserver.install.partition import shell
from bootserver.install.partition.layout import lay_out, uuids
from bootserver.install.partition.plan import Plan
from bootserver.install.root import boot_of, check_target, root_words
from bootserver.install.system import Own, kernel_line, system_files
from bootserver.install.target import Target, look_at
from bootserver.tree.inside import Inside
from bootserver.values.secret import Secret

AUTHORIZED_KEYS = "etc/bootserver/authorized_keys"


@dataclass(frozen=True)
class Case:
    """An install of an image on a machine.

    :ivar tree: the image's files. :ivar size: bytes of them. :ivar var_size: of those below /var.
    :ivar title: the image's distribution, as people call it.
    :ivar wipe: data partitions may go.
    :ivar seed: the same for one try of the install; UUIDs come of it.
    :ivar authorized_keys: public keys of who may log in as root.
    :ivar state: where overrides and scripts are. :ivar templates: folders, the site's first.
    :ivar service_group: the group that the service reads by; None where it has none. :ivar user: who the service is.
    """

    node: NodeView
    image: str
    title: str
    tree: Path
    size: int
    var_size: int
    inventory: Inventory
    wipe: bool
    seed: bytes
    host_keys: Mapping[str, Secret]
    authorized_keys: str
    state: Path
    templates: tuple[Path, ...]
    frontend_url: str
    rsync_port: int
    service_group: int | None
    user: str = "bootserver"

    @cached_property
    def target(self) -> Target:
        return look_at(self.tree)

    @cached_property
    def plan(self) -> Plan:
        return lay_out(
            self.node,
            self.inventory,
            state=self.state,
            user=self.user,
            wipe=self.wipe,
            seed=self.seed,
            size=self.size,
            var_size=self.var_size,
        ).plan

    @cached_property
    def own(self) -> Own:
        plan, root = self.plan, self.plan.root
        root_word, initrd_words = root_words(plan, self.target)
        return Own(
            node=with_cards(self.node, self.inventory.cards),
            title=self.title,
            fstab=shell.fstab(plan),
            root_uuid=root.filesystem_uuid,
            filesystem=root.filesystem,
            machine_id=next(uuids(self.seed + b"/machine-id")),
            host_keys=self.host_keys,
            frontend_url=self.frontend_url,
            report_up=render.plain_text(render.REPORTER, self.templates),
            root=root_word,
            initrd_words=initrd_words,
            boot=boot_of(plan),
            mdadm_conf=shell.mdadm_conf(plan),
        )


def script(case: Case) -> str:
    """What the installer does with this machine. All that can be refused is refused here, before a disk is touched.

    :raises BootserverError: why it can't be, for the person before the machine.
    """
    files(case)
    list(scripts(case))
    target, plan = case.target, case.plan
    return render.render(
        case.node,
        "script",
        case.templates,
        case.frontend_url,
        default=render.INSTALL,
        image=case.image,
        title=case.title,
        plan=shell.functions(plan),
        bios_disks=plan.bios_disks,
        esps=plan.esps,
        kernel=target.kernel,
        ramdisk=target.ramdisk,
        kernel_line=kernel_line(case.own),
        has_sshd=target.has_sshd,
        rsync_port=case.rsync_port,
        after_install=attributes.choice(case.node.attributes, "after_install"),
    )


def scripts(case: Case) -> Iterator[tuple[str, Entry]]:
    """The site's own scripts, each with the folder that it goes into."""
    for when in site_scripts.WHEN:
        yield when, Entry("", 0o755, folder=True)
        for entry in site_scripts.collect(case.state, when, case.node, case.image):
            yield when, entry


def files(case: Case) -> list[Entry]:
    """What is laid over the image: what makes it this node, and over that the site's overrides."""
    check_target(case.plan, case.target)
    own = {entry.path: entry for entry in system_files(case.own, case.target)}
    own[AUTHORIZED_KEYS] = Entry.text(AUTHORIZED_KEYS, case.authorized_keys, 0o600)
    for entry in site_files(case.state, case.node, case.templates, case.frontend_url, case.service_group):
        own[entry.path] = entry
    with Inside(case.tree) as inside:  # a folder that the image has keeps its mode
        return [own[path] for path in sorted(own) if not (own[path].folder and inside.is_folder(f"/{path}"))]


def site_files(
    state: Path, node: NodeView, templates: tuple[Path, ...], frontend_url: str, service_group: int | None
) -> list[Entry]:
    """A node's overrides, rendered."""

    def rendered(name: str, text: str) -> str:
        return render.render_text(text, name, node, templates, frontend_url)

    return overrides.collect(state, node, rendered, service_group)
