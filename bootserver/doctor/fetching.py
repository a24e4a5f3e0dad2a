"""Each loader fetched over the network, by TFTP with the options of whoever loads it, and by HTTP; and the image server asked."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path

from bootserver.config import Config
from bootserver.doctor.finding import Finding, failure, ok, warning
from bootserver.doctor.site import Site
from bootserver.netboot.loaders import GRUB_MODULES, LOADER_FILES

HTTP_SECONDS = 10.0
RSYNC_GREETING = b"@RSYNCD:"

_QUICK = ("pxelinux.0", "shimx64.efi")


def tftp_loaders(site: Site) -> Iterator[Finding]:
    """What is there comes whole by TFTP, as firmware asks."""
    from bootserver.doctor import tftp

    by_name: Mapping[str, Mapping[str, int]] = {
        **dict.fromkeys(("pxelinux.0", "undionly.kpxe", "grubpc.0", "localx64.efi"), tftp.PXE_ROM),
        **dict.fromkeys(("shimx64.efi", "snponly.efi", "ipxe.efi", "grubia32.efi", "grubnetx64.efi", "grubaa64.efi"), tftp.OVMF),
        "grubx64.efi": tftp.SHIM,
        f"{GRUB_MODULES.name}/http.mod": tftp.GRUB,
    }
    address = site.config.network.address
    names = list(_there(site.config.frontend.tftpboot, site.quick))
    fetched = 0
    for number, name in enumerate(names):
        site.progress("fetching loaders by TFTP", number / len(names))
        options = by_name.get(name, tftp.PXELINUX)
        try:
            found = tftp.fetch(str(address), site.config.tftp.port, name, options)
        except tftp.Silent as error:
            yield failure(
                f"TFTP: {error}",
                "no node that boots by BIOS, and few by UEFI, get a loader",
                "what is found on the service, the interface and the firewall says why; else journalctl -u bootserver",
            )
            return
        except tftp.Broken as error:
            yield _bad(site, name, "TFTP", str(error))
            continue
        fetched += 1
        if wrong := _differs(site.config.frontend.tftpboot / name, found.content):
            yield _bad(site, name, "TFTP", wrong)
        elif missing := [
            f"{key} {value}" for key, value in options.items() if found.options.get(key) != _expected(key, value, found)
        ]:
            yield warning(
                f"TFTP: {name} asked for with {', '.join(missing)}, and the server agreed to {dict(found.options) or 'nothing'}",
                "it comes, but slowly; or it is not our server that answers",
                f"look at who has port {site.config.tftp.port}, and at tftp.max_window in {site.config.path}",
            )
    if fetched:
        yield ok(f"TFTP: {fetched} loaders come whole from {address}")


def _expected(key: str, value: int, found: object) -> int:
    content = getattr(found, "content", b"")
    return len(content) if key == "tsize" else value


def http_loaders(site: Site) -> Iterator[Finding]:
    """The same by HTTP, from where nodes fetch."""
    config = site.config
    names = list(_there(config.frontend.tftpboot, site.quick))
    connection = http.client.HTTPConnection(str(config.network.address), config.http.seen_port, timeout=HTTP_SECONDS)
    fetched = 0
    try:
        for name in names:
            connection.request("GET", f"/{name}")
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                yield _bad(site, name, "HTTP", f"status {response.status}")
            elif wrong := _differs(config.frontend.tftpboot / name, content):
                yield _bad(site, name, "HTTP", wrong)
            else:
                fetched += 1
    except (OSError, http.client.HTTPException) as error:
        yield failure(
            f"HTTP: {config.network.address} port {config.http.seen_port} does not answer ({error or type(error).__name__})",
            "iPXE and GRUB fetch menus and kernels there, and installers everything",
            "systemctl status bootserver"
            + (", and nginx: systemctl status nginx; nginx -t" if config.http.behind_nginx or config.http.public_port else ""),
        )
        return
    finally:
        connection.close()
    if fetched:
        yield ok(f"HTTP: {fetched} loaders come whole from {config.network.address} port {config.http.seen_port}")
    if config.http.tls_port:
        yield _https(config)


def _https(config: Config) -> Finding:
    """Its certificate, by its own word alone: is it in date, and does the key fit?"""
    context = ssl.create_default_context()
    context.check_hostname = False
    try:
        context.load_verify_locations(config.http.tls_certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # ours is trusted here, whoever signed it
        with (
            socket.create_connection((str(config.network.address), config.http.tls_port), HTTP_SECONDS) as plain,
            context.wrap_socket(plain) as secure,
        ):
            certificate = secure.getpeercert() or {}
        return ok(f"HTTPS: its certificate is good until {certificate.get('notAfter', '?')}")
    except OSError as error:  # ssl.SSLError is one
        return failure(
            f"HTTPS: port {config.http.tls_port} of {config.network.address}: {error}",
            "installers that are told https URLs stop",
            f"make a new certificate at {config.http.tls_certificate}, then systemctl reload bootserver",
        )


def image_server(site: Site) -> Iterator[Finding]:
    """The image server answers, and turns away whoever installs nothing: we."""
    address, port = site.config.network.address, site.config.rsync.port
    try:
        answer = _rsync_answer(address, port)
    except OSError as error:
        yield failure(
            f"images: {address} port {port} does not answer ({error or type(error).__name__})",
            "nodes can't copy their image and installs wait",
            "systemctl status bootserver; is the package rsync installed?",
        )
        return
    if not answer.startswith(RSYNC_GREETING):
        yield failure(
            f"images: what answers on port {port} is no rsync",
            "nodes can't copy their image",
            f"ss -ltnp 'sport = {port}' names it; stop it, or set rsync.port",
        )
    elif b"@ERROR" not in answer:
        yield failure(
            f"images: the rsync on port {port} does not turn strangers away",
            "it is not ours: anybody may read what it offers, and nodes find no image there",
            "systemctl disable --now rsync, then systemctl restart bootserver",
        )
    else:
        yield ok(f"images: the rsync server on port {port} answers, and turns strangers away")


def _rsync_answer(address: IPv4Address, port: int) -> bytes:
    with socket.create_connection((str(address), port), HTTP_SECONDS) as connection:
        connection.settimeout(HTTP_SECONDS)
        connection.sendall(b"@RSYNCD: 31.0\n#list\n")
        received = b""
        while b"@ERROR" not in received and b"@RSYNCD: EXIT" not in received and len(received) < 65536:
            more = connection.recv(4096)
            if not more:
                break
            received += more
        return received


def _there(tftpboot: Path, quick: bool) -> Iterator[str]:
    """Loaders that are in place; what is missing is said by another check."""
    for name in sorted([*LOADER_FILES, f"{GRUB_MODULES.name}/http.mod"]):
        path = tftpboot / name
        if path.is_file() and not path.is_symlink() and (not quick or name in _QUICK):
            yield name


def _differs(path: Path, content: bytes) -> str:
    try:
        there = path.read_bytes()
    except OSError:  # not for this user to read, or replaced just now
        return ""
    return "" if there == content else f"{len(content)} bytes came, and they are not the {len(there)} of {path}"


def _bad(site: Site, name: str, by: str, why: str) -> Finding:
    path = site.config.frontend.tftpboot / name
    return failure(
        f"{by}: {name}: {why}",
        "a machine whose firmware loads it stops there",
        f"chmod a+r {path} and a+x on its folders; or bootserver init, which puts loaders in place",
    )
