"""Which layers a container's image has: an OCI layout (OCI image specification 1.1, image-layout.md), or what ``docker save``
writes.

Everything in it was said by whoever made it: each text, number and path is checked, each file is found inside the folder only,
and each digest is computed.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootserver.errors import Refused
from bootserver.tree.inside import Inside

_MAX_DEPTH = 4  # indexes in indexes
_MAX_LAYERS = 500
_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}


@dataclass(frozen=True, slots=True)
class Layer:
    """:ivar path: below the folder.
    :ivar digest: of the file as it is; None where nobody says.
    :ivar diff_id: of the tar in it.
    """

    path: str
    digest: str | None
    diff_id: str


@dataclass(frozen=True, slots=True)
class ContainerImage:
    """:ivar layers: the lowest first."""

    folder: Path
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A manifest that an index names."""

    descriptor: dict[str, Any]
    names: frozenset[str]
    architecture: str | None


def image_in(folder: Path, tag: str | None) -> ContainerImage:
    """The image that a folder holds.

    :param tag: which, where it holds several.
    :raises Refused: it is damaged, holds none, or several and no tag says which.
    """
    with Inside(folder) as inside:
        reader = _Reader(inside)
        if inside.is_file("/oci-layout"):
            layers = _oci(reader, tag)
        elif inside.is_file("/manifest.json"):
            layers = _docker(reader, tag)
        else:
            raise Refused("it holds no container's image: looked for oci-layout and manifest.json")
    return ContainerImage(folder, layers)


def check_digest(text: str) -> tuple[str, str]:
    """``sha256:...`` as algorithm and hex. :raises Refused: it is neither that nor sha512."""
    found = _DIGEST.fullmatch(text)
    if found is None:
        raise Refused(f"the container's image names a digest that can't be checked: {text[:40]!r}")
    return found.group(1) or found.group(3), found.group(2) or found.group(4)


class _Reader:
    """JSON of the folder, checked."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    def json(self, path: str, kind: type, digest: str | None = None) -> Any:
        content = self._inside.read(path)
        if content is None:
            raise Refused(f"the container's image is incomplete: there is no {path.lstrip('/')[:100]}")
        if digest is not None:
            algorithm, wanted = check_digest(digest)
            if hashlib.new(algorithm, content).hexdigest() != wanted:
                raise Refused(f"the container's image is damaged: {path.lstrip('/')[:100]} has another digest")
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, kind):
            raise Refused(f"the container's image is damaged: {path.lstrip('/')[:100]} is not the JSON that belongs there")
        return value

    def blob(self, descriptor: Any) -> dict[str, Any]:
        digest = _text(_field(descriptor, "digest"), "digest")
        value: dict[str, Any] = self.json(_blob_path(digest), dict, digest)
        return value


# -- OCI --------------------------------------------------------------------------------------------------------------


def _oci(reader: _Reader, tag: str | None) -> tuple[Layer, ...]:
    version = reader.json("/oci-layout", dict).get("imageLayoutVersion")
    if not str(version).startswith("1."):
        raise Refused(f"an OCI layout of version {str(version)[:20]!r} can't be read; 1.x can")
    candidates = _flatten(reader, reader.json("/index.json", dict), frozenset(), 0)
    chosen = _choose(candidates, tag)
    manifest = reader.blob(chosen.descriptor)
    descriptors = _list(_field(manifest, "layers"), "layers")
    layers = []
    for descriptor, diff_id in zip(
        descriptors, _diff_ids(reader.blob(_field(manifest, "config")), len(descriptors)), strict=True
    ):
        digest, kind = _text(_field(descriptor, "digest"), "digest"), _text(_field(descriptor, "mediaType"), "mediaType")
        if "tar" not in kind or kind.endswith("+encrypted"):
            raise Refused(f"a layer of type {kind[:80]!r} can't be unpacked")
        layers.append(Layer(_blob_path(digest), digest, diff_id))
    return tuple(layers)


def _flatten(reader: _Reader, index: dict[str, Any], names: frozenset[str], depth: int) -> list[_Candidate]:
    if depth > _MAX_DEPTH:
        raise Refused("the container's image is damaged: indexes in indexes without an end")
    found: list[_Candidate] = []
    for descriptor in _list(_field(index, "manifests"), "manifests"):
        kind, annotations = _field(descriptor, "mediaType", ""), _field(descriptor, "annotations", {})
        own = names | {str(annotations[key]) for key in _NAMES if isinstance(annotations, dict) and key in annotations}
        if "index" in str(kind) or "manifest.list" in str(kind):
            found += _flatten(reader, reader.blob(descriptor), own, depth + 1)
            continue
        where = _field(descriptor, "platform", {})
        architecture = where.get("architecture") if isinstance(where, dict) else None
        if architecture != "unknown":  # an attestation, no image
            found.append(_Candidate(descriptor, own, None if architecture is None else str(architecture)))
    return found


def _choose(candidates: list[_Candidate], tag: str | None) -> _Candidate:
    if tag is not None:
        there = {name for candidate in candidates for name in candidate.names}
        candidates = [candidate for candidate in candidates if any(_is_tag(name, tag) for name in candidate.names)]
        if not candidates:
            raise Refused(f"the container's image has no tag {tag!r}; it has {_listed(there)}")
    if len(candidates) > 1:
        ours = _MACHINES.get(platform.machine(), platform.machine())
        candidates = [candidate for candidate in candidates if candidate.architecture in (None, ours)] or candidates
    if not candidates:
        raise Refused("the container's image holds nothing: its index names no manifest")
    if len({str(candidate.descriptor.get("digest")) for candidate in candidates}) > 1:
        names = {name for candidate in candidates for name in candidate.names}
        raise Refused(f"there are several images in it: say which with --tag; there are {_listed(names)}")
    return candidates[0]


# -- docker save ------------------------------------------------------------------------------------------------------


def _docker(reader: _Reader, tag: str | None) -> tuple[Layer, ...]:
    images = reader.json("/manifest.json", list)
    tags = {str(name) for image in images for name in _field(image, "RepoTags", None) or []}
    if tag is not None:
        images = [image for image in images if any(_is_tag(str(name), tag) for name in _field(image, "RepoTags", None) or [])]
        if not images:
            raise Refused(f"the docker archive has no tag {tag!r}; it has {_listed(tags)}")
    if len(images) != 1:
        raise Refused(f"there are {len(images)} images in the docker archive: say which with --tag; there are {_listed(tags)}")
    config_path = _text(_field(images[0], "Config"), "Config")
    paths = [_text(path, "layer") for path in _list(_field(images[0], "Layers"), "Layers")]
    # It is named after its digest, in either form of the archive.
    named = re.fullmatch(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?", config_path)
    config = reader.json(f"/{config_path}", dict, f"sha256:{named.group(1)}" if named else None)
    return tuple(Layer(f"/{path}", None, diff_id) for path, diff_id in zip(paths, _diff_ids(config, len(paths)), strict=True))


# -- what both have ---------------------------------------------------------------------------------------------------


def _diff_ids(config: dict[str, Any], count: int) -> list[str]:
    ids = [_text(each, "diff_id") for each in _list(_field(_field(config, "rootfs"), "diff_ids"), "diff_ids")]
    if len(ids) != count or not 0 < count <= _MAX_LAYERS:
        raise Refused(f"the container's image is damaged: {count} layers, and {len(ids)} digests of them")
    for each in ids:
        check_digest(each)
    return ids


def _blob_path(digest: str) -> str:
    return "/blobs/" + "/".join(check_digest(digest))


_REQUIRED = object()


def _field(value: Any, name: str, default: Any = _REQUIRED) -> Any:
    if not isinstance(value, dict) or (name not in value and default is _REQUIRED):
        raise Refused(f"the container's image is damaged: {name} is missing")
    return value.get(name, default)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise Refused(f"the container's image is damaged: {what} is no text")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise Refused(f"the container's image is damaged: {what} is no list")
    return value


def _is_tag(name: str, tag: str) -> bool:
    """``debian:12`` and ``docker.io/library/debian:12`` are both meant by ``12``, ``debian:12`` or the whole."""
    return name == tag or name.endswith((f":{tag}", f"/{tag}"))


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)[:10]) or "no tags"
