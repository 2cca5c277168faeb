# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option `objects` of modules that apply manifests: its arguments, the files of the controller that it names, and what is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.common.yaml import yaml_dump

from .._plan import diff, manifests

Json = dict[str, Any]


def objects_argument() -> Json:
    """Argument spec of the option `objects`, the same in every module that has it."""
    return {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "kube_cluster": {"type": "str", "required": True},
            "definition": {"type": "dict", "required": True},
            "files": {"type": "dict"},
            "create_only": {"type": "bool", "default": False},
        },
    }


def read_files(entry: Json, where: str, planning: bool) -> dict[str, bytes]:
    """The content of one object's `files`. Raises ManifestError for a file that cannot be read.

    While only `planning` (check mode) a file may be missing: an earlier task of the same play would have made it.
    """
    content = {}
    for key, path in (entry.get("files") or {}).items():
        try:
            content[str(key)] = Path(str(path)).read_bytes()
        except OSError as error:
            if planning and isinstance(error, FileNotFoundError):
                content[str(key)] = b"(not made yet)"
                continue
            raise manifests.ManifestError(f"{where}.files.{key}: {path} cannot be read on the controller: {error.strerror}") from error
    return content


def read_objects(params: Json, planning: bool, absent: bool = False) -> list[manifests.Manifest]:
    """The manifests of `objects`, for kube clusters of `kube_clusters`. `absent`: only what identifies them is read. Raises ManifestError."""
    names = [options["name"] for options in params["kube_clusters"]]
    found = []
    for index, entry in enumerate(params["objects"]):
        where = f"objects[{index}]"
        content = {} if absent else read_files(entry, where, planning)
        found.append(manifests.manifest_from(entry, where, names, content, identity_only=absent))
    manifests.check_unique(found)
    return found


def hide_secrets(params: Json) -> None:
    """Ansible returns a module's parameters with -vvv: take the data of Secrets out of them."""
    for entry in params["objects"]:
        entry["definition"] = diff.redact(entry["definition"])


def ansible_diff(entries: list[Json]) -> list[dict[str, str]]:
    """The diff as Ansible's callbacks print it."""
    return [
        {
            "before_header": entry["title"],
            "after_header": entry["title"],
            "before": _as_yaml(entry["before"]),
            "after": _as_yaml(entry["after"]),
        }
        for entry in entries
    ]


def _as_yaml(value: Json) -> str:
    return str(yaml_dump(value, default_flow_style=False, sort_keys=True, width=1000)) if value else ""
