"""What an installing node fetches: attributes are data, templates a site's, mistakes are named with file and line."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from bootserver import data
from bootserver.cluster.view import InstallView, NodeView
from bootserver.install.render import TemplateFault, TemplateMissing, render
from bootserver.values.secret import Secret
from tests import views

URL = "http://10.1.1.1/"
EVIL = "a'b\"c$(touch /tmp/bootserver-was-here)`id`${HOME}\\ ; & | é"


def node(**attributes: str) -> NodeView:
    return dataclasses.replace(views.node(), attributes=attributes, install=InstallView(1, Secret("hunter2"), None))


def site(folder: Path, text: str, name: str = "own.sh.j2") -> tuple[Path, Path]:
    (folder / name).write_text(text)
    return folder, data.folder("kickstart")


def test_the_shipped_script_tells_a_shell_who_it_is(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(render(node(color=EVIL), "script", [tmp_path, data.folder("kickstart")], URL))
    shown = subprocess.run(
        ["sh", "-euc", '. "$0"; printf "%s|" "$NODE" "$RANK" "$FRONTEND" "$INTERFACE_0" "$ATTRIBUTE_color"', str(script)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown == f"compute-0-0|0|{URL}|eth0 52:54:00:00:00:01 10.1.255.254/16|{EVIL}|"
    assert not Path("/tmp/bootserver-was-here").exists()


def test_a_site_s_template_goes_before_the_shipped_one(tmp_path: Path) -> None:
    folders = site(tmp_path, "own {{ node.name }}\n", "node.sh.j2")
    assert render(node(), "script", folders, URL) == "own compute-0-0\n"


def test_a_node_s_attribute_names_its_template(tmp_path: Path) -> None:
    folders = site(tmp_path, "{{ attributes.color | sh }}\n")
    assert render(node(script="own.sh.j2", color="a b"), "script", folders, URL) == "'a b'\n"


def test_a_misspelt_name_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    folders = site(tmp_path, "one\ntwo\n{{ node.nmae }}\n")
    with pytest.raises(TemplateFault, match=r"own\.sh\.j2:3: .*nmae"):
        render(node(script="own.sh.j2"), "script", folders, URL)


def test_a_syntax_error_too(tmp_path: Path) -> None:
    folders = site(tmp_path, "one\n{% if %}\n")
    with pytest.raises(TemplateFault, match=r"own\.sh\.j2:2: "):
        render(node(script="own.sh.j2"), "script", folders, URL)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a\nb", "..", "none.j2"])
def test_no_template_is_outside_of_its_folders(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "templates").mkdir()
    with pytest.raises((TemplateFault, TemplateMissing)):
        render(node(script=name), "script", [tmp_path / "templates"], URL)


@pytest.mark.parametrize(
    "text",
    [
        "{{ node.install.secret.reveal() }}",
        "{{ node.install }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ node.__class__.__init__.__globals__ }}",
        "{{ attributes.__class__ }}",
        "{{ cycler.__init__.__globals__.os.system('id') }}",
        "{{ attributes.update({'a': 'b'}) }}",
    ],
)
def test_a_template_reaches_neither_secrets_nor_the_machine(tmp_path: Path, text: str) -> None:
    folders = site(tmp_path, text)
    try:
        shown = render(node(script="own.sh.j2"), "script", folders, URL)
    except TemplateFault:
        return
    assert shown == "None", shown


def test_a_template_that_loops_for_ever_is_a_fault(tmp_path: Path) -> None:
    folders = site(tmp_path, "{% for i in range(99999999) %}x{% endfor %}")
    with pytest.raises(TemplateFault):
        render(node(script="own.sh.j2"), "script", folders, URL)


def test_an_error_of_the_template_s_own_arithmetic_is_a_fault_with_its_line(tmp_path: Path) -> None:
    folders = site(tmp_path, "one\n{{ 1 // 0 }}\n")
    with pytest.raises(TemplateFault, match=r"own\.sh\.j2:2: "):
        render(node(script="own.sh.j2"), "script", folders, URL)


def test_without_a_kickstart_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(TemplateMissing, match="compute-0-0 has no attribute 'kickstart'"):
        render(node(), "kickstart", [tmp_path], URL)
