# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kube clusters that a user names in a file: checked, and with kubeconfigs as absolute paths. For the inventory plugin and the event source."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError

from .._plan.names import is_dns_label
from .session import credentials, kubeconfig
from .session.options import KUBE_CLUSTER_OPTIONS, kube_clusters_argument

Json = dict[str, Any]

_ALL_CONTEXTS = "all_contexts"


def entries(given: Any, default: str, folder: str, named: bool) -> list[Json]:
    """The entries of kube_clusters; with the word all_contexts, one for each context. Raises ValueError with what is wrong.

    `default` is the kubeconfig of those that name none, "" for what the environment says; `named`: the user has written it down. Relative paths start at
    `folder`.
    """
    # An environment variable that is set to nothing counts as not set, as it does for kubectl.
    default = _absolute(default or os.environ.get("KUBECONFIG") or kubeconfig.DEFAULT_PATH, folder)
    if not named:
        default = _those_that_exist(default)
    pods_own = not named and not _exists(default) and credentials.in_cluster() is not None
    if given is None:
        raise ValueError(
            "kube_clusters is not named: list the kube clusters of the deployment, each with a name and its context; or, where every context of the "
            f"kubeconfig {default} is one of them, write kube_clusters: {_ALL_CONTEXTS}"
        )
    # Ansible makes a list of a text that stands where it wants one.
    if given in (_ALL_CONTEXTS, [_ALL_CONTEXTS]):
        contexts = kubeconfig.contexts(default)
        for context in contexts:
            if not is_dns_label(context):
                raise ValueError(
                    f"context {context!r} of kubeconfig {default} is not a DNS label, which the name of a kube cluster must be; "
                    "list kube_clusters, each with a name of yours and its context"
                )
        given = [{"name": context, "context": context} for context in contexts]
    result = ArgumentSpecValidator({"kube_clusters": kube_clusters_argument()}).validate({"kube_clusters": given})
    if result.error_messages:
        told = [f"unknown option {error}" if isinstance(error, UnsupportedError) else str(error) for error in result.errors]
        raise ValueError(f"kube_clusters: {'; '.join(told)}")
    found: list[Json] = []
    for entry in result.validated_parameters["kube_clusters"]:
        if not is_dns_label(entry["name"]):
            raise ValueError(f"kube_clusters: the name {entry['name']!r} is not a DNS label; choose another one")
        kept = {
            option: entry[option]
            for option, details in KUBE_CLUSTER_OPTIONS.items()
            if entry.get(option) not in (None, [], details.get("default"))
        }
        if kept.get("kubeconfig") or kept.get("context") or not (kept.get("host") or pods_own):
            # Modules of later plays must not depend on their environment.
            kept["kubeconfig"] = _absolute(kept["kubeconfig"], folder) if kept.get("kubeconfig") else default
        found.append(kept)
    if not found:
        raise ValueError(f"no kube cluster: kube_clusters is empty, or kubeconfig {default} has no context")
    return found


def _absolute(paths: str, folder: str) -> str:
    """Absolute path (or paths, joined by the separator of the platform) of a kubeconfig."""
    parts = [os.path.expanduser(part) for part in paths.split(os.pathsep) if part]
    return os.pathsep.join(os.path.normpath(os.path.join(folder, part)) for part in parts)


def _exists(paths: str) -> bool:
    return any(os.path.exists(part) for part in paths.split(os.pathsep))


def _those_that_exist(paths: str) -> str:
    """Of several paths those of files that are there, as kubectl takes what the environment names; all of them where none is."""
    return os.pathsep.join(part for part in paths.split(os.pathsep) if os.path.exists(part)) or paths
