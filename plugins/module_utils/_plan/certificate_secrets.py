# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets with the certificates of members. Pure functions."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import join, names
from .layout import CONFIG_PATH, all_ports, ca_certificate, certificate_folder
from .metadata import metadata_of

Json = dict[str, Any]

# Members whose certificates are in one Secret of a DaemonSet. A Secret holds 1 MiB, so each of them may have 16 KiB: two certificates with RSA keys of
# 4096 bits, and the CA's. It decides which Secret a member is in, by its ordinal, so it never changes.
HOSTS_PER_SECRET = 64


def secret_number(binding: Mapping[str, Any]) -> int:
    """Which of a DaemonSet's Secrets has the certificates of this member. Nobody who comes or goes changes that of another one."""
    return int(binding["ordinal"]) // HOSTS_PER_SECRET


def certificate_secret(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    name: str,
    bindings: Sequence[Mapping[str, Any]],
    issued: Mapping[tuple[str, str], Mapping[str, Any]],
    per_node: bool,
) -> tuple[Json, dict[str, str]]:
    """A Secret without its files' contents, and the files to read: key -> path on the controller."""
    files: dict[str, str] = {}
    texts: dict[str, str] = {}
    dates: Json = {}
    for binding in bindings:
        prefix = f"{binding['node']}." if per_node else ""
        files[prefix + spec.get("ca_file", "ca.crt")] = ca_certificate(hostnet)
        for wish in spec["certificates"]:
            entry = issued[(certificate_folder(wish, binding), wish["file"])]
            files[f"{prefix}{wish['file']}.crt"] = entry["certificate"]
            files[f"{prefix}{wish['file']}.key"] = entry["private_key"]
            dates.setdefault(str(binding["member"]), {})[wish["file"]] = {"serial": entry["serial"], "not_after": entry["not_after"]}
        for file, text in spec.get("member_files", {}).items():
            # Relative to the file's own folder, which is one deeper where all members share a Secret.
            config = f"{'../' * (2 if per_node else 1)}{CONFIG_PATH.rpartition('/')[2]}"
            filled = join.render([binding], str(text).replace("{config}", config), "", all_ports(spec))
            texts[prefix + file] = base64.b64encode(filled.encode()).decode()
    definition: Json = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata_of(hostnet, name, annotations={names.CERTIFICATES_ANNOTATION: json.dumps(dates, sort_keys=True)}),
    }
    if texts:
        definition["data"] = texts
    return definition, files


def secret_files(spec: Mapping[str, Any]) -> list[str]:
    files = [str(spec.get("ca_file", "ca.crt"))]
    for wish in spec["certificates"]:
        files += [f"{wish['file']}.crt", f"{wish['file']}.key"]
    return files + list(spec.get("member_files", {}))
