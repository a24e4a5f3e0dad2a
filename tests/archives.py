"""Archives to import: real ones, made by the real programs of a tree, and such as nobody should have made."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


def gnu_tar(tree: Path, target: Path, *options: str) -> Path:
    """All of a tree, with all that GNU tar can keep."""
    kept = ("--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "--sparse", "--format=posix")
    subprocess.run(["tar", "--create", f"--file={target}", f"--directory={tree}", *kept, *options, "."], check=True)
    return target


def squashfs(tree: Path, target: Path) -> Path:
    subprocess.run(["mksquashfs", tree, target, "-no-progress", "-quiet", "-xattrs"], check=True, capture_output=True)
    return target


def layer(*members: tuple[str, Any]) -> bytes:
    """A tar of these: a text or bytes is a file, None a folder, ``("->", x)`` a link, ``("=>", x)`` a hard link to x."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, what in members:
            member = tarfile.TarInfo(name)
            member.mode, member.mtime = 0o755 if what is None else 0o644, 1_700_000_000
            if what is None:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            elif isinstance(what, tuple):
                member.type = tarfile.SYMTYPE if what[0] == "->" else tarfile.LNKTYPE
                member.linkname = what[1]
                tar.addfile(member)
            else:
                content = what.encode() if isinstance(what, str) else what
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ROOT = layer(("etc", None), ("etc/os-release", "ID=debian\nVERSION_ID=12\n"), ("usr", None), ("usr/bin", None))
"""A layer that makes a root file system."""


def joined(*tars: bytes) -> bytes:
    """One tar of several, one behind the other."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as whole:
        for content in tars:
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                for member in tar:
                    whole.addfile(member, tar.extractfile(member) if member.isreg() else None)
    return buffer.getvalue()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class OciLayout:
    """An OCI layout in a folder; images are added to its index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifests: list[dict[str, Any]] = []
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._write_index()

    def blob(self, content: bytes, kind: str) -> dict[str, Any]:
        (self.folder / "blobs" / digest(content).replace(":", "/")).write_bytes(content)
        return {"mediaType": kind, "digest": digest(content), "size": len(content)}

    def add(
        self, layers: Sequence[bytes], *, pack: Callable[[bytes], bytes] | None = None, tag: str | None = None, **platform: str
    ) -> dict[str, Any]:
        """An image of these tars. :returns: its manifest's descriptor, as it stands in the index."""
        suffix = "" if pack is None else "+zstd" if pack is zstd else "+gzip"
        blobs = [self.blob(pack(each) if pack else each, LAYER_TYPE + suffix) for each in layers]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(each) for each in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self.blob(json.dumps(config).encode(), CONFIG_TYPE),
            "layers": blobs,
        }
        descriptor = self.blob(json.dumps(manifest).encode(), MANIFEST_TYPE)
        if tag is not None:
            descriptor["annotations"] = {"org.opencontainers.image.ref.name": tag}
        if platform:
            descriptor["platform"] = platform
        self.manifests.append(descriptor)
        self._write_index()
        return descriptor

    def nest(self) -> None:
        """Put what there is into an index that the index names, as images for several architectures are."""
        inner = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": self.manifests}).encode()
        self.manifests = [self.blob(inner, INDEX_TYPE)]
        self._write_index()

    def archive(self, target: Path) -> Path:
        """The same as one tar, as ``skopeo copy ... oci-archive:`` makes it."""
        with tarfile.open(target, "w") as tar:
            for path in sorted(self.folder.iterdir()):
                tar.add(path, path.name)
        return target

    def _write_index(self) -> None:
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": self.manifests}
        (self.folder / "index.json").write_text(json.dumps(index))


def docker_archive(target: Path, images: Iterable[tuple[str, Sequence[bytes]]]) -> Path:
    """What ``docker save`` wrote up to version 24: a folder for each layer, one that is there twice as a link."""
    entries, written = [], dict[bytes, str]()
    with tarfile.open(target, "w") as tar:
        for tag, layers in images:
            paths = []
            for number, content in enumerate(layers):
                folder = hashlib.sha256(f"{tag}{number}".encode()).hexdigest()
                path = f"{folder}/layer.tar"
                _add(tar, f"{folder}/VERSION", b"1.0")
                if content in written:
                    member = tarfile.TarInfo(path)
                    member.type, member.linkname = tarfile.SYMTYPE, f"../{written[content]}"
                    tar.addfile(member)
                else:
                    written[content] = path
                    _add(tar, path, content)
                paths.append(path)
            config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [digest(each) for each in layers]}}).encode()
            name = f"{hashlib.sha256(config).hexdigest()}.json"
            _add(tar, name, config)
            entries.append({"Config": name, "RepoTags": [tag], "Layers": paths})
        _add(tar, "manifest.json", json.dumps(entries).encode())
    return target


def zstd(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=content, capture_output=True, check=True).stdout


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, 1)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
