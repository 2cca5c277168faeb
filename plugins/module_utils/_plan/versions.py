# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of the kubelet, as Kubernetes and its distributions write them. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_NUMBER = "(0|[1-9][0-9]{0,8})"
_VERSION = re.compile(rf"v?{_NUMBER}\.{_NUMBER}(?:\.{_NUMBER}([-+][0-9A-Za-z][0-9A-Za-z.+-]*)?)?")
# What comes before the release itself: v1.34.0-rc.1.
_EARLY = re.compile(rf"-(alpha|beta|rc)(?:\.?{_NUMBER})?(.*)")
# Builds of one release that are counted: v1.33.4-gke.1134000, v1.33.4+k3s1, v1.33.4+rke2r1. EKS writes a commit, which says nothing of older and newer.
_BUILD = re.compile(rf"(-gke\.|\+k3s|\+rke2r){_NUMBER}")


class _Version(NamedTuple):
    # Release, and what comes before it: a final one is the last of them.
    numbers: tuple[int, int, int]
    early: tuple[str, int]
    rest: str


def _parsed(text: str) -> _Version | None:
    found = _VERSION.fullmatch(text.strip())
    if not found:
        return None
    major, minor, patch, rest = found.groups()
    early = _EARLY.fullmatch(rest or "")
    return _Version(
        (int(major), int(minor), int(patch or 0)),
        (early[1], int(early[2] or 0)) if early else ("release", 0),
        (early[3] if early else rest) or "",
    )


def problem(text: str) -> str:
    """Why `text` is no version, or ""."""
    if _parsed(text) is None:
        return "is no version of a kubelet: write it as 1.33, 1.33.4 or 1.33.4-gke.1134000, in quotes"
    return ""


def compare(left: str, right: str) -> int | None:
    """-1 where `left` is older than `right`, 0 where they are the same, 1 where it is newer; None where that cannot be told."""
    one, other = _parsed(left), _parsed(right)
    if one is None or other is None:
        return None
    if one[:2] != other[:2]:
        return -1 if one[:2] < other[:2] else 1
    if one.rest == other.rest:
        return 0
    builds = _BUILD.fullmatch(one.rest), _BUILD.fullmatch(other.rest)
    if builds[0] and builds[1] and builds[0][1] == builds[1][1]:
        return -1 if int(builds[0][2]) < int(builds[1][2]) else 1
    return None


def has(version: str, wanted: str) -> bool:
    """Whether a kubelet's `version` is `wanted`, or newer. 1.33 is any of 1.33; without a build, any build of that release is meant."""
    one, other = _parsed(version), _parsed(wanted)
    if one is None or other is None:
        return False
    if not other.rest:
        return one[:2] >= other[:2]
    order = compare(version, wanted)
    return order is not None and order >= 0


def by_kube_cluster(wanted: Any, kube_clusters: Sequence[str]) -> dict[str, str]:
    """hostnet_follow_until by kube cluster: one version is meant for all of them, and a kube cluster that a dictionary leaves out is not waited for."""
    if isinstance(wanted, Mapping):
        return {str(name): str(version) for name, version in wanted.items()}
    return dict.fromkeys(kube_clusters, str(wanted)) if wanted else {}
