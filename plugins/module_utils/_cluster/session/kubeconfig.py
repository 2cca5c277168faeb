# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubeconfigs: which files, how several of them are one, and what they say about a context. As kubectl has it.

No text of an error quotes a file: a parser's own words could have a token in them.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .options import AccessError

with contextlib.suppress(ImportError):
    import yaml

Json = dict[str, Any]

DEFAULT_PATH = "~/.kube/config"
# The first one that is set counts.
VARIABLES = ("K8S_AUTH_KUBECONFIG", "KUBECONFIG")
# Lists of the file, and the key that each entry has beside its name.
_SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}


@dataclass(frozen=True)
class Entry:
    """An entry of a list of a kubeconfig, and the path of the file that has it. `label` names it in errors."""

    path: str
    label: str
    values: Mapping[str, Any]

    def problem(self, key: str, text: str) -> AccessError:
        """The error about one of its keys; key "" for all of it."""
        return AccessError(f"{self.label}{'.' if key else ''}{key} of kubeconfig {self.path}", text)

    def text(self, key: str) -> str:
        """A value as text, "" where there is none; numbers and true and false are taken for text, as kubectl does. Raises AccessError."""
        return self._as_text(key, self.values.get(key))

    def _as_text(self, key: str, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, (str, int, float)):
            raise self.problem(key, f"must be text, and is a {type(value).__name__}")
        return str(value)

    def flag(self, key: str) -> bool:
        """Whether a key is true; false where it is not there. Raises AccessError for what is neither."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.problem(key, "must be true or false")
        return bool(value)

    def texts(self, key: str) -> list[str]:
        """A list of texts. Raises AccessError."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.problem(key, "must be a list")
        return [self._as_text(f"{key}[{index}]", item) for index, item in enumerate(value)]

    def part(self, key: str) -> Entry | None:
        """A dictionary below it, None where there is none. Raises AccessError."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.problem(key, "must be a dictionary")
        return Entry(self.path, f"{self.label}.{key}", value)

    def data(self, key: str) -> bytes:
        """What a key has in base64, b"" where there is none. Raises AccessError."""
        try:
            return base64.b64decode("".join(self.text(key).split()), validate=True)
        except ValueError:
            raise self.problem(key, "is not base64") from None

    def file(self, key: str) -> str:
        """The path that a key has; a relative one begins at the folder of the kubeconfig. "" where there is none."""
        return self.beside(self.text(key))

    def beside(self, path: str) -> str:
        """`path` as seen from the folder of the kubeconfig."""
        return os.path.join(os.path.dirname(os.path.abspath(self.path)), path) if path else ""


@dataclass
class Merged:
    """Several kubeconfigs as one: entries by name, in the order in which they were found."""

    clusters: dict[str, Entry] = field(default_factory=dict)
    users: dict[str, Entry] = field(default_factory=dict)
    contexts: dict[str, Entry] = field(default_factory=dict)
    current: str = ""


@dataclass(frozen=True)
class Selected:
    """What a context leads to."""

    cluster: Entry
    user: Entry


def paths(option: str | None, environment: Mapping[str, str]) -> tuple[list[str], bool]:
    """(paths of the kubeconfigs, whether a user has named them in an option): of the option, the environment, or the default."""
    named = next((environment[variable] for variable in VARIABLES if environment.get(variable)), DEFAULT_PATH)
    parts = [os.path.expanduser(part) for part in (option or named).split(os.pathsep) if part]
    return list(dict.fromkeys(parts)), bool(option)


def load(files: Sequence[str], named: bool) -> Merged | None:
    """The kubeconfigs as one; None where not one of them is there.

    One that is missing or empty is passed over, as kubectl does, unless a user has `named` it: then it is an error. Raises AccessError for that, and
    for what cannot be read or is no kubeconfig.
    """
    found: list[tuple[str, Json]] = []
    for path in files:
        try:
            content = _content(path)
        except FileNotFoundError:
            if named:
                raise AccessError("kubeconfig", f"{path} is missing or cannot be read; give kubeconfig: for this kube cluster") from None
            continue
        except OSError as error:
            raise AccessError("kubeconfig", f"{path} is missing or cannot be read ({error.strerror})") from None
        if content is None and named:
            raise _no_kubeconfig(path, "it is empty")
        found.append((path, {} if content is None else content))
    return merge(found) if found else None


def merge(files: Sequence[tuple[str, Json]]) -> Merged:
    """(path, content) of kubeconfigs as one: whoever is first to have a name, or a current context, wins. Raises AccessError."""
    merged = Merged()
    for path, content in files:
        if not isinstance(content, dict):
            raise _no_kubeconfig(path, "it is no dictionary")
        for section, key in _SECTIONS.items():
            entries: dict[str, Entry] = getattr(merged, section)
            for name, entry in _entries(path, content, section, key).items():
                entries.setdefault(name, entry)
        current = content.get("current-context")
        if current is not None and not isinstance(current, (str, int)):
            raise _no_kubeconfig(path, "current-context is no text")
        merged.current = merged.current or ("" if current is None else str(current))
    return merged


def select(merged: Merged, context: str | None, files: Sequence[str]) -> Selected:
    """What `context`, or else the current one, leads to. Raises AccessError where something that it names is not there."""
    place = f"kubeconfig {os.pathsep.join(files)}"
    name = context or merged.current
    if not name:
        raise AccessError("context", f"{place} has no current-context; give context")
    if name not in merged.contexts:
        kind = "" if context else "current "
        raise AccessError("context", f"{place} has no {kind}context {name}; check the name of the context")
    chosen = merged.contexts[name]
    cluster, user = chosen.text("cluster"), chosen.text("user")
    if cluster not in merged.clusters:
        raise AccessError("context", f"context {name} of {place} names a cluster that is not there")
    if user and user not in merged.users:
        raise AccessError("context", f"context {name} of {place} names a user that is not there")
    return Selected(merged.clusters[cluster], merged.users[user] if user else Entry(chosen.path, "users[]", {}))


def contexts(kubeconfig: str) -> list[str]:
    """Names of the contexts of a kubeconfig (several paths joined by os.pathsep: of all), each once, in their order.

    Raises ValueError where a file is missing or is no kubeconfig.
    """
    found: dict[str, None] = {}
    for path in kubeconfig.split(os.pathsep):
        try:
            content = _content(path)
        except OSError as error:
            text = f"kubeconfig {path} cannot be read: {error.strerror}; give kubeconfig or kube_clusters"
            raise AccessError("kubeconfig", text) from None
        found.update(dict.fromkeys(merge([(path, content)]).contexts))  # type: ignore[list-item]  # None is refused
    return list(found)


def reread(path: str) -> Json:
    """The content of a kubeconfig as it is now. Raises AccessError."""
    try:
        content = _content(path)
    except OSError as error:
        raise AccessError("kubeconfig", f"{path} is missing or cannot be read ({error.strerror})") from None
    return content or {}


def parse(text: str, path: str) -> Any:
    """The content of a kubeconfig. Raises AccessError."""
    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506  # a safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _no_kubeconfig(path, type(error).__name__) from None


def _content(path: str) -> Json | None:
    """None for an empty file. Raises OSError and AccessError. Nobody changes what it returns."""
    with open(path, "rb") as source:
        return _parsed(path, source.read())


# All kube clusters of one call are mostly in one file.
@functools.lru_cache(maxsize=16)
def _parsed(path: str, text: bytes) -> Json | None:
    content: Json | None = parse(text.decode("utf-8", "replace"), path)
    return content


@functools.cache
def _loader() -> Any:
    """YAML's safe loader, in C where there is one (a tenth of the time), which leaves what looks like a date as text."""
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
        for first, known in base.yaml_implicit_resolvers.items()
    }
    return type("_Loader", (base,), {"yaml_implicit_resolvers": resolvers})


def _entries(path: str, content: Json, section: str, key: str) -> dict[str, Entry]:
    given = content.get(section)
    if given is None:
        return {}
    if not isinstance(given, list):
        raise _no_kubeconfig(path, f"{section} is no list")
    found: dict[str, Entry] = {}
    for index, item in enumerate(given):
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, (str, int)):
            raise _no_kubeconfig(path, f"{section}[{index}] has no name")
        values = item.get(key)
        if values is not None and not isinstance(values, dict):
            raise _no_kubeconfig(path, f"{section}[{index}].{key} is no dictionary")
        if str(name) in found:
            raise _no_kubeconfig(path, f"{section}[{index}] has the name of an entry before it")
        found[str(name)] = Entry(path, f"{section}[{name}]", values or {})
    return found


def _no_kubeconfig(path: str, why: str) -> AccessError:
    return AccessError("kubeconfig", f"kubeconfig {path} is not a kubeconfig ({why})")
