# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubeconfigs: which files count, how several are one, and what is said about those that are of no use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import kubeconfig
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.options import AccessError

Json = dict[str, Any]
SECTIONS = {"clusters": ("cluster", "server"), "users": ("user", "token"), "contexts": ("context", "namespace")}
NAMES = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.sampled_from(["1", "2", "3", "4", "5"])


@st.composite
def configs(draw: st.DrawFn) -> Json:
    content: Json = {
        section: [{"name": name, key: {field: draw(VALUES)}} for name in draw(st.lists(NAMES, unique=True))]
        for section, (key, field) in SECTIONS.items()
    }
    if draw(st.booleans()):
        content["current-context"] = draw(st.sampled_from(["", "a", "b"]))
    return content


@given(st.lists(configs(), max_size=5))
def test_whoever_is_first_to_have_a_name_wins(contents: list[Json]) -> None:
    merged = kubeconfig.merge([(f"/{index}", content) for index, content in enumerate(contents)])
    for section, (key, field) in SECTIONS.items():
        expected: dict[str, tuple[str, str]] = {}
        for index, content in enumerate(contents):
            for entry in content[section]:
                expected.setdefault(entry["name"], (f"/{index}", entry[key][field]))
        found = {name: (entry.path, entry.text(field)) for name, entry in getattr(merged, section).items()}
        assert found == expected
    assert merged.current == next((content["current-context"] for content in contents if content.get("current-context")), "")


@given(st.lists(configs(), min_size=1, max_size=4), st.data())
def test_merging_in_steps_is_merging_at_once(contents: list[Json], data: st.DataObject) -> None:
    files = [(f"/{index}", content) for index, content in enumerate(contents)]
    cut = data.draw(st.integers(0, len(files)))
    front, back, whole = kubeconfig.merge(files[:cut]), kubeconfig.merge(files[cut:]), kubeconfig.merge(files)
    for section in SECTIONS:
        assert {**getattr(back, section), **getattr(front, section)} == getattr(whole, section)
    assert whole.current == (front.current or back.current)


def write(path: Path, **content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_which_files() -> None:
    assert kubeconfig.paths(None, {}) == ([os.path.expanduser("~/.kube/config")], False)
    assert kubeconfig.paths(None, {"KUBECONFIG": "/a::/b:/a"}) == (["/a", "/b"], False)
    assert kubeconfig.paths(None, {"KUBECONFIG": "/a", "K8S_AUTH_KUBECONFIG": "/b"}) == (["/b"], False)
    assert kubeconfig.paths(None, {"KUBECONFIG": "/a", "K8S_AUTH_KUBECONFIG": ""}) == (["/a"], False)
    assert kubeconfig.paths("~/k:/c", {"KUBECONFIG": "/a"}) == ([os.path.expanduser("~/k"), "/c"], True)


def test_missing_files_are_passed_over_unless_a_user_named_them(tmp_path: Path) -> None:
    there = write(tmp_path / "k", clusters=[{"name": "c", "cluster": {"server": "s"}}])
    missing = str(tmp_path / "missing")
    merged = kubeconfig.load([missing, there], named=False)
    assert merged is not None
    assert list(merged.clusters) == ["c"]
    assert kubeconfig.load([missing], named=False) is None
    with pytest.raises(AccessError, match="/missing is missing or cannot be read; give kubeconfig:") as error:
        kubeconfig.load([there, missing], named=True)
    assert error.value.field == "kubeconfig"


def test_empty_files(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("# nothing\n")
    merged = kubeconfig.load([str(tmp_path / "k")], named=False)
    assert merged is not None
    assert not merged.clusters
    with pytest.raises(AccessError, match="is not a kubeconfig"):
        kubeconfig.load([str(tmp_path / "k")], named=True)


def test_relative_paths_begin_at_their_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write(tmp_path / "one" / "k", clusters=[{"name": "c", "cluster": {"certificate-authority": "ca.crt"}}])
    two = write(tmp_path / "two" / "k", users=[{"name": "u", "user": {"tokenFile": "../t", "client-key": "/abs"}}])
    monkeypatch.chdir(tmp_path)
    merged = kubeconfig.load([one, "two/k"], named=True)
    assert merged is not None
    assert merged.clusters["c"].file("certificate-authority") == str(tmp_path / "one" / "ca.crt")
    assert os.path.normpath(merged.users["u"].file("tokenFile")) == str(tmp_path / "t")
    assert merged.users["u"].file("client-key") == "/abs"
    assert merged.users["u"].file("client-certificate") == ""
    assert two.endswith("two/k")


@pytest.mark.parametrize(
    "text",
    [
        *("- a", "users: 1", "users: [1]", "users: [{}]", "a: [", "users: [{name: \t", "users: [{name: a, user: 1}]"),
        *("users: [{name: a}, {name: a}]", "current-context: []", "!!python/object:os.system {}", "[" * 3000),
    ],
)
def test_no_text_of_a_file_is_in_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(f"{text}\n# secret-token")
    with pytest.raises(AccessError, match="is not a kubeconfig") as error:
        kubeconfig.load([str(tmp_path / "k")], named=True)
    assert "secret-token" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("context", "part"),
    [
        (None, "has no current-context; give context"),
        ("x", "has no context x; check the name of the context"),
        ("lost", "names a cluster that is not there"),
        ("nobody", "names a user that is not there"),
    ],
)
def test_what_a_context_leads_to(context: str | None, part: str) -> None:
    content = {
        "clusters": [{"name": "c", "cluster": {}}],
        "contexts": [
            {"name": "lost", "context": {"cluster": "d"}},
            {"name": "nobody", "context": {"cluster": "c", "user": "u"}},
            {"name": "anonymous", "context": {"cluster": "c"}},
        ],
    }
    merged = kubeconfig.merge([("/k", content)])
    assert kubeconfig.select(merged, "anonymous", ["/k"]).user.values == {}
    with pytest.raises(AccessError, match=part) as error:
        kubeconfig.select(merged, context, ["/k"])
    assert error.value.field == "context"


def test_types_of_values() -> None:
    values = {"t": 12, "b": True, "n": None, "d": "a\nGk=", "bad": "§", "list": [], "dict": {"k": ["v"]}, "date": "2030-01-01"}
    entry = kubeconfig.Entry("/k", "users[u]", values)
    assert [entry.text(key) for key in ("t", "b", "n", "none")] == ["12", "true", "", ""]
    assert (entry.flag("b"), entry.flag("n"), entry.data("d"), entry.texts("list"), entry.part("none")) == (True, False, b"hi", [], None)
    nested = entry.part("dict")
    assert nested is not None
    assert nested.texts("k") == ["v"]
    for read, key in ((entry.text, "list"), (entry.flag, "t"), (entry.data, "bad"), (entry.texts, "t"), (entry.part, "t")):
        with pytest.raises(AccessError) as error:
            read(key)  # type: ignore[operator]
        assert error.value.field == f"users[u].{key} of kubeconfig /k"
    # What looks like a date stays the text that it is.
    assert kubeconfig.parse("a: 2030-01-01T00:00:00Z", "/k") == {"a": "2030-01-01T00:00:00Z"}


def test_contexts_of_several_files(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / str(index), contexts=[{"name": name, "context": {}} for name in names])
        for index, names in enumerate((["east", "west"], ["west", "north"]))
    ]
    assert kubeconfig.contexts(os.pathsep.join(paths)) == ["east", "west", "north"]
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        kubeconfig.contexts(str(tmp_path / "missing"))
    (tmp_path / "empty").write_text("")
    with pytest.raises(ValueError, match="is not a kubeconfig"):
        kubeconfig.contexts(str(tmp_path / "empty"))


def test_a_kubeconfig_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    for name in ("one", "two"):
        path = write(tmp_path / "k", contexts=[{"name": name, "context": {}}])
        assert kubeconfig.contexts(path) == [name]
