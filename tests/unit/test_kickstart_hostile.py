"""No value of an attribute, whatever it holds, changes what a rendered file is: lines, sections, questions, keys."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bootserver.db.rows import DistributionRow
from bootserver.errors import BootserverError
from bootserver.install.checking import preseed
from bootserver.install.render import TemplateFault, render_file
from tests.answer_files import (
    DEBIAN,
    KEY,
    NASTY,
    ROCKY,
    SUSE,
    UBUNTU,
    URL,
    WISHES,
    commented,
    four_cards,
    one_card,
    render,
    script_of,
)

words = st.lists(st.one_of(st.sampled_from(NASTY), st.characters(exclude_categories=("C", "Z")), st.just(" ")), max_size=12)
hostile = words.map("".join).map(lambda text: text.strip()[:150]).filter(str.isprintable)
anything = st.one_of(
    hostile, st.text(max_size=40), st.sampled_from(["a\nb", "a\r\nb", "\x00", "a\n%end\nreboot", "\x85", "\u2028x"])
)


def differing(one: str, other: str) -> list[tuple[str, str]]:
    """The lines in which two files differ; they have as many."""
    lines, others = one.split("\n"), other.split("\n")
    assert len(lines) == len(others)
    return [pair for pair in zip(lines, others, strict=True) if pair[0] != pair[1]]


def assert_same_words(changes: Sequence[tuple[str, str]], harmless: str, value: str) -> None:
    for before, after in changes:
        assert [word.replace(harmless, "V") for word in shlex.split(before)] == [
            word.replace(f"{KEY} {value}".strip(), f"{KEY} V") for word in shlex.split(after)
        ]


@settings(max_examples=60, deadline=None)
@example("a\\")
@example("%end")
@given(hostile)
def test_no_value_changes_a_kickstart(value: str) -> None:
    assume(value)
    text = render(commented(value), ROCKY)
    changes = differing(render(commented("harmless"), ROCKY), text)
    assert len(changes) == (2 if value != "harmless" else 0)
    assert_same_words(changes, "harmless", value)
    assert [line for line in text.split("\n") if line.startswith("%")] == [
        "%include /tmp/bootserver-network", "%include /tmp/bootserver-partitions", "%packages", "%end",
        "%pre --erroronfail --log=/tmp/bootserver-pre.log", "%end", "%pre-install --erroronfail", "%end", "%onerror", "%end",
        "%post --erroronfail --log=/root/bootserver-post.log", "%end",
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@example("a\\")
@given(hostile)
def test_no_value_changes_a_preseed(value: str) -> None:
    assume(value)
    before, after = (list(preseed.answers(render(commented(each), DEBIAN))) for each in ("harmless", value))
    assert [(each.line, each.owner, each.question, each.type) for each in before] == [
        (each.line, each.owner, each.question, each.type) for each in after
    ]
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert [one.question for one, _ in changed] == ["preseed/late_command"] * (value != "harmless")
    for one, other in changed:
        assert_same_words(differing(script_of(one.value), script_of(other.value)), "harmless", value)


@settings(max_examples=60, deadline=None)
@given(hostile)
def test_no_value_changes_an_autoinstall(value: str) -> None:
    assume(value)
    before, after = (yaml.safe_load(render(commented(each), UBUNTU))["autoinstall"] for each in ("harmless", value))
    (script,), (other,) = before.pop("late-commands"), after.pop("late-commands")
    assert before == after
    assert_same_words(differing(script, other), "harmless", value)


@settings(max_examples=60, deadline=None)
@given(hostile)
def test_no_value_changes_an_autoyast_profile(value: str) -> None:
    assume(value)
    before, after = (list(ElementTree.fromstring(render(commented(each), SUSE)).iter()) for each in ("harmless", value))
    assert [each.tag for each in before] == [each.tag for each in after]
    for one, other in zip(before, after, strict=True):
        assert one.attrib == other.attrib
        if one.text != other.text:
            assert one.tag.endswith("source")
            assert_same_words(differing(one.text or "", other.text or ""), "harmless", value)


_TARGETS = {
    "sh": "before\necho {{ attributes.x | sh }} end\nafter\n",
    "ks": "user --name=a --gecos={{ attributes.x | ks }} --lock\nafter\n",
    "preseed": "d-i passwd/user-fullname string {{ attributes.x | preseed }}\nd-i x/y string z\n",
    "json": '{"a": {{ attributes.x | json }}, "b": [1]}\n',
    "xml": '<a><b c="{{ attributes.x | xml }}">{{ attributes.x | xml }}</b><d/></a>\n',
    "yaml_text": "a:\n  - {% filter yaml_text(4) %}\n{{ attributes.x }}\nend\n{% endfilter %}\n\nb: 1\n",
    "comment": "# {{ attributes.x | comment }}\nafter\n",
}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(_TARGETS)), anything)
def test_a_value_in_a_site_s_own_template_is_itself_or_refused(
    tmp_path_factory: pytest.TempPathFactory, target: str, value: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "targets"
    folder.mkdir(exist_ok=True)
    (folder / f"{target}.j2").write_text(_TARGETS[target])
    try:
        text = render_file(f"{target}.j2", one_card(x=value), (folder,), URL, {})
    except TemplateFault as fault:
        assert not value.isprintable() or (target == "preseed" and value.endswith("\\")), fault
        return
    match target:
        case "sh":
            before, line, after, end = text.split("\n") if value.isprintable() else ("before", "", "after", "")
            assert (before, after, end) == ("before", "after", "")
            assert not line or shlex.split(line) == ["echo", value, "end"]
        case "ks":
            assert shlex.split(text.split("\n")[0], comments=True) == ["user", "--name=a", f"--gecos={value}", "--lock"]
            assert text.count("\n") == 2
        case "preseed":
            assert [(each.question, each.value) for each in preseed.answers(text)] == [
                ("passwd/user-fullname", value.strip()), ("x/y", "z"),
            ]  # fmt: skip
        case "json":
            assert json.loads(text) == {"a": value, "b": [1]}
            assert yaml.safe_load(text) == {"a": value, "b": [1]}
        case "xml":
            element = ElementTree.fromstring(text)
            assert [each.tag for each in element.iter()] == ["a", "b", "d"]
            assert not value.isprintable() or element[0].text == (value or None)
        case "yaml_text":
            assert yaml.safe_load(text) == {"a": [f"{value}\nend\n"], "b": 1}
        case "comment":
            assert text.split("\n")[1:] == ["after", ""] and not text.split("\n")[0].endswith("\\")


_ATTRIBUTES = (*sorted(WISHES), "bond.bond0", "mirror", "post", "kickstart", "filesystem")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(_ATTRIBUTES), anything, st.sampled_from([ROCKY, DEBIAN, UBUNTU, SUSE]))
def test_any_attribute_whatever_it_holds_is_refused_or_leaves_the_file_what_it_is(
    key: str, value: str, row: DistributionRow
) -> None:
    node = four_cards()
    try:
        text = render(dataclasses.replace(node, attributes={**node.attributes, key: value}), row)
    except BootserverError as error:
        assert "\n" not in str(error) or not value.isprintable()
        return
    match row.kind:
        case "kickstart":
            assert [line.split()[0] for line in text.split("\n") if line.startswith("%")] == [
                line.split()[0] for line in render(node, row).split("\n") if line.startswith("%")
            ]
        case "preseed":
            asked = {each.question for each in preseed.answers(text)}
            assert asked - {each.question for each in preseed.answers(render(node, row))} <= {
                "debian-installer/exit/poweroff", "debian-installer/exit/halt", "apt-setup/local0/repository",
                "apt-setup/local0/comment", "apt-setup/local0/source", "mirror/https/hostname", "mirror/https/directory",
                "mirror/https/proxy",
            }  # fmt: skip
        case "autoinstall":
            assert yaml.safe_load(text)["autoinstall"].keys() == yaml.safe_load(render(node, row))["autoinstall"].keys()
        case _:
            tags = {each.tag for each in ElementTree.fromstring(text).iter()}
            assert tags - {each.tag for each in ElementTree.fromstring(render(node, row)).iter()} <= {
                f"{{http://www.suse.com/1.0/yast2ns}}{name}" for name in ("uid", "package", "pattern", "service")
            }
