"""How each installer is told, on the kernel's command line, where its packages and its answers are.

``@frontend@`` and ``@ticket@`` are filled in when a menu is made (:mod:`bootserver.cluster.boot`), and the menus add ``BOOTIF``,
the card that the machine booted from: all four installers go by it, so that a machine with many cards asks on that one. Words
with ``@vlan@`` are there only where its frames carry a tag: docs/explanation/firmware.md, "VLANs", says who can do what.
"""

from __future__ import annotations

from bootserver.cluster.boot import UNTAGGED, VLAN
from bootserver.cluster.plan import CARD
from bootserver.install.distribution.found import Found, Kind

ANSWERS = "@frontend@node/kickstart/@ticket@"
"""Where an installer fetches what it is told."""


def arguments(found: Found, name: str) -> str:
    """The kernel's arguments for a tree that is served as distribution `name`."""
    tree = f"@frontend@distro/{name}"
    match found.kind:
        case Kind.KICKSTART:
            words = _kickstart(found, tree)
        case Kind.PRESEED:
            words = _PRESEED
        case Kind.AUTOINSTALL:
            words = _autoinstall(found, tree)
        case Kind.AUTOYAST:
            words = _autoyast(tree)
    return " ".join(words)


def _kickstart(found: Found, tree: str) -> tuple[str, ...]:
    """Anaconda boot options (https://anaconda-installer.readthedocs.io/en/latest/boot-options.html), dracut.cmdline(7).

    inst.repo is where the installer's second stage and the packages are; of a medium without packages only the second stage is
    taken (inst.stage2), and the kickstart names a repository. inst.ks.sendmac adds the headers X-RHN-Provisioning-MAC-N.
    ip=dhcp tries every card, and with BOOTIF only that one. The prefix "inst." is a must since RHEL 9, and known to RHEL 7.
    A VLAN is made on a card that has a name, which ifname= gives to the one with a MAC address. It is none that the kernel gives
    away itself (dracut.cmdline(7) warns of eth0), and has the tag in it, so that the word is there only where there is one.
    """
    source = "inst.repo" if found.has_packages else "inst.stage2"
    card, vlan = f"boot{VLAN}", f"boot{VLAN}.{VLAN}"
    tagged = (f"ifname={card}:{CARD}", f"vlan={vlan}:{card}", f"ip={vlan}:dhcp")
    return (f"{source}={tree}", f"inst.ks={ANSWERS}", "inst.ks.sendmac", f"ip=dhcp{UNTAGGED}", *tagged)


_PRESEED = (
    # Debian installation guide, B.2.2 to B.2.5. auto delays the questions of language and keyboard until the preseed file is
    # there, but not of all versions, and netcfg's own always come before it: the network fetches the file.
    "auto=true",
    "priority=critical",
    "locale=en_US.UTF-8",
    "country=US",
    "language=en",
    "keymap=us",
    # "auto": the card of BOOTIF, else the first with a link. Name and domain are empty, so that DHCP's count.
    "interface=auto",
    "netcfg/get_hostname=",
    "netcfg/get_domain=",
    "netcfg/get_nameservers=",
    # A cluster's network need not have a router: else netcfg stops and asks, whatever the priority.
    "netcfg/no_default_route=true",
    # netcfg waits for a router's advertisement before it asks by DHCP.
    "ipv6.disable=1",
    # Debian 12's netcfg knows no VLANs, and passes over a question that it does not have; later ones make it on that card.
    f"netcfg/vlan_id={VLAN}",
    f"url={ANSWERS}",
)


def _autoinstall(found: Found, tree: str) -> tuple[str, ...]:
    """Ubuntu Server documentation, "How to netboot the server installer"; cloud-init, data source NoCloud.

    casper fetches the ISO by url=, into memory. cloud-init would take url= for its own configuration and fetch those gigabytes
    once more, which cloud-config-url=/dev/null prevents. "autoinstall": don't ask whether disks may be written.
    The seed is a folder: user-data, meta-data and vendor-data are fetched from below it.
    Its initrd makes VLANs only on cards that are called by name, which nobody knows here: where frames carry a tag it gets no
    address.
    """
    # cloud-init before 23.3 (Ubuntu 22.04 at first) takes a URL only from "nocloud-net", which 23.4 does not know; what all of
    # 24.04 and later have is documented as "nocloud".
    source = "nocloud" if int(found.version.partition(".")[0]) >= 24 else "nocloud-net"
    return (
        "root=/dev/ram0",
        "ramdisk_size=1500000",
        "ip=dhcp",
        f"url={tree}/{found.iso}",
        "autoinstall",
        # curtin's "v2" of partitioning, which alone can keep a partition and make others anew (docs/explanation/partitioning.md).
        "subiquity-storage-version=2",
        f"ds={source};s={ANSWERS}/",
        "cloud-config-url=/dev/null",
    )


def _autoyast(tree: str) -> tuple[str, ...]:
    """linuxrc's parameters (https://en.opensuse.org/SDB:Linuxrc; AutoYaST guide, "Invoking the auto-installation").

    netsetup=dhcp: don't ask for an address. linuxrc takes the card of BOOTIF.
    """
    return (f"install={tree}", f"autoyast={ANSWERS}", "netsetup=dhcp", f"vlanid={VLAN}")
