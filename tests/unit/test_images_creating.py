"""What an image is made of: packages, mirrors, the frontend's own sources, and how progress is read off apt."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootserver.errors import NotFound, Unavailable, UsageError
from bootserver.images import creating
from bootserver.images.apt import Reading
from bootserver.images.creating import Recipe, read_packages
from bootserver.images.frontend_apt import own_sources
from bootserver.images.program import telling

DEB822 = """\
Types: deb
# a comment between fields
URIs: http://mirror.example.org/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example.org/debian-security/
Suites: bookworm-security
Components: main

Types: deb
URIs: https://vendor.example.org/apt
Suites: stable
Components: main

Types: deb
Enabled: no
URIs: http://old.example.org/debian
Suites: bookworm
Components: main
"""
ONE_LINE = """\
# deb http://off.example.org/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example.org/debian bookworm main  # ours
deb-src http://mirror.example.org/debian bookworm main
deb http://user:secret@paid.example.org/debian bookworm main
deb cdrom:[Debian]/ bookworm main
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_the_frontend_s_own_sources_are_those_of_the_suite(apt: Path) -> None:
    (apt / "sources.list.d/debian.sources").write_text(DEB822)
    signed = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example.org/debian"
    assert [source.line for source in own_sources("bookworm", apt)] == [
        f"{signed} bookworm main contrib",
        f"{signed} bookworm-updates main contrib",
        "deb http://mirror.example.org/debian-security/ bookworm-security main",
    ]
    assert own_sources("trixie", apt) == ()


def test_lines_of_sources_list_are_read_too_and_no_password_leaves_them(apt: Path) -> None:
    (apt / "sources.list").write_text(ONE_LINE)
    assert [source.line for source in own_sources("bookworm", apt)] == [
        "deb [signed-by=/k.gpg] http://mirror.example.org/debian bookworm main"
    ]


def test_a_frontend_without_sources_has_none(apt: Path) -> None:
    assert own_sources("bookworm", apt) == ()


def test_packages_are_read_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "packages"
    path.write_text("# what we need\nopenmpi-bin\n\n  vim-tiny  # an editor\nlibc6:i386\nslurmd=22.05.8-4\n")
    assert read_packages(path) == ("openmpi-bin", "vim-tiny", "libc6:i386", "slurmd=22.05.8-4")


@pytest.mark.parametrize("line", ["two words", "--option", "a,b", "?essential", "x;y", "../x", "Ä"])
def test_a_line_that_is_no_package_is_refused_with_its_place(tmp_path: Path, line: str) -> None:
    path = tmp_path / "packages"
    path.write_text(f"vim\n{line}\n")
    with pytest.raises(UsageError, match=r"packages:2: .* is no package's name"):
        read_packages(path)


def test_a_list_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="can't be read"):
        read_packages(tmp_path / "nothing")


def test_packages_are_added_to_those_that_a_node_needs() -> None:
    wanted = Recipe("debian-12", packages=("vim", "rsync")).wanted
    assert wanted[:4] == ["linux-image-amd64", "grub-pc-bin", "grub-efi-amd64-bin", "grub2-common"]
    assert wanted[-1] == "vim"
    assert wanted.count("rsync") == 1
    assert "linux-image-generic" in Recipe("ubuntu-24.04").wanted
    assert Recipe("debian-12", kernel="linux-image-rt-amd64").wanted[0] == "linux-image-rt-amd64"
    assert Recipe("debian-12", packages=("vim",), defaults=False).wanted == ["vim"]
    assert "grub-pc-bin" not in Recipe("debian-13", architecture="arm64").wanted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"distribution": "debian-99"}, "no distribution 'debian-99' .* there are debian-11, debian-12"),
        ({"distribution": "debian-12", "architecture": "vax"}, "no architecture 'vax'"),
        ({"distribution": "debian-12", "kernel": "--x"}, "is no package's name"),
        ({"distribution": "debian-12", "mirrors": ("--x",)}, "is no mirror"),
        ({"distribution": "debian-12", "mirrors": ("ftp://x/y",)}, "is no mirror"),
        ({"distribution": "debian-12", "mirrors": ("deb http://x/y a\nb c",)}, "is no mirror"),
        ({"distribution": "debian-12", "mirrors": ("http://me:secret@x/y",)}, "would be seen by everybody"),
        (
            {"distribution": "debian-12", "mirrors": ("deb http://me:secret@x/debian bookworm main",)},
            "would be seen by everybody",
        ),
    ],
)
def test_what_can_not_be_made_is_refused_before_the_work(given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        Recipe(**given)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("mirror", ["http://x/debian", "file:///srv/debian", "deb [trusted=yes] http://x/debian bookworm main"])
def test_mirrors_are_urls_and_whole_lines(mirror: str) -> None:
    assert Recipe("debian-12", mirrors=(mirror,)).mirrors == (mirror,)


def test_a_distribution_without_its_keyring_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(creating._KEYRINGS, "ubuntu", ("ubuntu-keyring", str(tmp_path / "no.gpg")))
    with pytest.raises(Unavailable, match=r"no\.gpg, which ubuntu's packages are checked by: apt-get install ubuntu-keyring"):
        creating.create(tmp_path, Recipe("ubuntu-24.04"))


APT = """\
Reading package lists...
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Need to get 1 MB of archives.
Get:1 http://mirror.example.org/debian bookworm/main amd64 less amd64 590-2.1~deb12u2 [132 kB]
Get:2 http://mirror.example.org/debian bookworm/main amd64 rsync amd64 3.2.7-1 [417 kB]
Fetched 549 kB in 0s
Selecting previously unselected package less.
Preparing to unpack .../less.deb ...
Unpacking less (590-2.1~deb12u2) ...
Unpacking rsync (3.2.7-1) ...
Setting up less (590-2.1~deb12u2) ...
Setting up rsync (3.2.7-1) ...
Processing triggers for man-db (2.11.2-2) ...
"""


def test_progress_is_read_off_apt_s_own_lines() -> None:
    said: list[tuple[str, float | None]] = []
    reading = Reading(lambda words, fraction: said.append((words, fraction)))
    for line in APT.splitlines():
        reading(line)
    assert said == [
        ("fetching 2 packages", 0.5),
        ("fetching 2 packages", 1.0),
        ("installing 2 packages", 0.25),
        ("installing 2 packages", 0.5),
        ("installing 2 packages", 0.75),
        ("installing 2 packages", 1.0),
    ]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["I: begun", "E: Unable to locate package x", "E: mmdebstrap failed to run"], "E: Unable to locate package x"),
        (["tar: x: Cannot open: No space left on device", "tar: Exiting with failure status due to previous errors"],
         "tar: x: Cannot open: No space left on device"),
        (["hello", "rsync: [sender] link_stat failed", "rsync error: some files (code 23)"], "rsync: [sender] link_stat failed"),
        (["one", "two", ""], "two"),
        ([], ""),
    ],
)  # fmt: skip
def test_of_all_that_a_program_says_the_telling_line_is_found(lines: list[str], told: str) -> None:
    assert telling(lines) == told
