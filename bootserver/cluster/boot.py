"""The one decision of the product: what does this machine boot now?

An action's or a distribution's arguments may name what is only known now: ``@frontend@`` is where the node reaches the frontend
(``http://10.1.1.1/``), ``@ticket@`` the boot ticket of its install. So an installer of any kind finds what it is told
(``inst.ks=@frontend@node/kickstart/@ticket@``). A word that names ``@vlan@`` is there only where the node's frames carry a tag
on the network that it boots from (``vlanid=@vlan@``), one that names ``@untagged@`` only where they carry none
(``ip=dhcp@untagged@`` is ``ip=dhcp`` then). ``@card@``, the MAC address of the card that it boots by, is filled in last
(:meth:`~bootserver.cluster.plan.LinuxBoot.by_card`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bootserver.cluster import attributes
from bootserver.cluster.actions import INSTALLER_KERNEL, BootAction
from bootserver.cluster.plan import EfiApplication, FloppyBoot, LinuxBoot, LocalDisk, Plan, Wait
from bootserver.cluster.view import InstallView, NodeView
from bootserver.values.firmware import Firmware

FRONTEND, TICKET, VLAN, UNTAGGED = "@frontend@", "@ticket@", "@vlan@", "@untagged@"


@dataclass(frozen=True, slots=True)
class Way:
    """How a machine reaches the frontend, by the card that it boots from.

    :ivar frontend_url: such as ``http://10.1.1.1/``.
    :ivar installer_url: what ``@frontend@`` is, where installers are to take another way (HTTPS).
    :ivar vlan: the tag that its frames carry (IEEE 802.1Q), or None.
    """

    frontend_url: str
    installer_url: str | None = None
    vlan: int | None = None


def boot_plan(
    node: NodeView | None,
    firmware: Firmware,
    *,
    way: Way,
    ticket: Callable[[InstallView], str],
) -> Plan:
    """What a machine boots.

    :param node: who it is, or None for a machine that the cluster does not know.
    :param ticket: makes a boot ticket of an armed install.
    """
    if node is None:
        return Wait("the cluster does not know this machine; run `bootserver insert-ethers` on the frontend")
    action = node.action
    because = f"action {action.name}"
    if action.local_disk:
        return LocalDisk(f"{because}, local disk")
    if action.installs:
        return _install(node, because, way, ticket)
    if action.floppy is not None:
        if firmware.is_uefi:
            return Wait(f"{because} boots a floppy image, which needs BIOS firmware, and this machine has UEFI")
        return FloppyBoot(action.floppy, action.args, because)
    if action.efi is not None and firmware.is_uefi:
        return EfiApplication(action.efi, because, " ".join(_args(node, action)))
    if action.kernel is None:
        return Wait(f"{because} says nothing to boot")
    args = _with_facts(_args(node, action), way, None)
    return LinuxBoot(action.kernel, action.initrds, args, because)


def _install(node: NodeView, because: str, way: Way, ticket: Callable[[InstallView], str]) -> Plan:
    action, install = node.action, node.install
    if install is None:
        return Wait(f"{because} is not armed: {node.unresolved or f'bootserver pxe set {node.name} {action.name}'}")
    if install.parked is not None:
        return Wait(f"{because} is parked: {install.parked}")
    if action.kernel is None:
        return Wait(f"{because}: {node.unresolved}")
    args = _with_facts(_args(node, action), way, ticket(install))
    return LinuxBoot(action.kernel, action.initrds, args, because, has_ticket=True)


def _with_facts(words: list[str], way: Way, ticket: str | None) -> str:
    """The command line. One that names neither fact itself is told them as our installer reads them."""
    if not any(name in word for word in words for name in (FRONTEND, TICKET)):
        words = [*words, f"bootserver={way.frontend_url}", f"bootserver.vlan={VLAN}"]
        if ticket is not None:
            words.append(f"bootserver.ticket={ticket}")
    idle = VLAN if way.vlan is None else UNTAGGED
    args = " ".join(word for word in words if idle not in word)
    facts = {FRONTEND: way.installer_url or way.frontend_url, TICKET: ticket or "", VLAN: str(way.vlan), UNTAGGED: ""}
    for name, value in facts.items():
        args = args.replace(name, value)
    return args


def _args(node: NodeView, action: BootAction) -> list[str]:
    """The action's own, and for what takes it the console that the node's bootflags name; ours is also told of failures."""
    words = action.args.split()
    if action.takes_console and not any(word.startswith("console=") for word in words):
        flags = node.attributes.get(attributes.BOOTFLAGS, "").split()
        words += [word for word in flags if word.startswith("console=")]
    if action.kernel != INSTALLER_KERNEL:
        return words
    if "quiet" not in words:
        # A kernel that tells all on a serial line (115,200 baud) takes seconds longer; warnings are told all the same.
        words.insert(0, "quiet")
    if (on_failure := attributes.choice(node.attributes, "on_failure")) != "reboot":
        words.append(f"bootserver.on_failure={on_failure}")
    return words
