# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and labels of all objects of a deployment. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import names

Json = dict[str, Any]


def labels_of(hostnet: Mapping[str, Any], member: str = "") -> dict[str, str]:
    labels = {
        "app.kubernetes.io/name": str(hostnet["system"]),
        "app.kubernetes.io/instance": str(hostnet["name"]),
        names.MANAGED_BY_LABEL: names.PREFIX,
        names.DEPLOYMENT_LABEL: str(hostnet["name"]),
    }
    if member:
        labels[names.MEMBER_LABEL] = member
    return labels


def metadata_of(hostnet: Mapping[str, Any], name: str, member: str = "", annotations: Mapping[str, str] | None = None) -> Json:
    metadata: Json = {"name": name, "namespace": hostnet["namespace"], "labels": labels_of(hostnet, member)}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return metadata
