# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of objects, labels and annotations: the one place that knows them."""

from __future__ import annotations

import re

PREFIX = "hostnet.multicluster"
DEPLOYMENT_LABEL = f"{PREFIX}/deployment"
MEMBER_LABEL = f"{PREFIX}/member"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
# On guard pods instead of the label of the deployment: they are no members.
GUARD_LABEL = f"{PREFIX}/guard-of"
# Guard pods on each node with a member: one that may be evicted, and one that may not.
GUARDS = 2
TOKEN_ANNOTATION = f"{PREFIX}/token"
CA_ANNOTATION = f"{PREFIX}/ca-fingerprint"
# Of a pod: what its process was started with, pod.configuration.
CONFIGURATION_ANNOTATION = f"{PREFIX}/configuration"
CERTIFICATES_ANNOTATION = f"{PREFIX}/certificates"
# Of a workload: the trust revision that it was made with, from the second one on.
TRUST_ANNOTATION = f"{PREFIX}/trust"

# https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-out-of-service
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"

# RFC 1123 label: what Kubernetes asks of namespaces, and what fits into object names, label values and certificates.
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def is_dns_label(text: str) -> bool:
    """True for an RFC 1123 label: at most 63 of a-z, 0-9 and '-', starting and ending with a letter or digit."""
    return bool(_DNS_LABEL.fullmatch(text))


def deployment_selector(name: str) -> str:
    """Label selector of everything that a deployment has in its namespace."""
    return f"{DEPLOYMENT_LABEL}={name}"


def node_label(name: str) -> str:
    """The label of nodes that carry a member of the deployment; its value is the member's name."""
    return f"{PREFIX}/{name}"


def namespace_label(name: str) -> str:
    """The label of nodes that a member of the deployment is bound to, also while it is stopped; its value is the deployment's namespace."""
    return f"namespace.{PREFIX}/{name}"


def member_selectors(name: str) -> tuple[str, str]:
    """Label selectors of the nodes that members of the deployment are bound to. A stopped member's has the second label alone, and one that a version
    before 0.4.0 has labelled the first."""
    return node_label(name), namespace_label(name)


def about(name: str) -> str:
    """ConfigMap with what the rollouts of other deployments on the same VMs need to know; equal in all kube clusters."""
    return f"{name}-about"


def identity(name: str) -> str:
    """ConfigMap with the claim: token, system, CA fingerprint, first members. Immutable from its creation."""
    return f"{name}-identity"


def cluster_record(name: str) -> str:
    """ConfigMap with the system's cluster id, created once the system has reported it. Immutable from its creation."""
    return f"{name}-cluster-id"


def roster(name: str, revision: int) -> str:
    """ConfigMap with one revision of the record of the deployment's kube clusters. Immutable from its creation."""
    return f"{name}-kube-clusters-{revision}"


def is_roster(name: str, object_name: str) -> bool:
    """Whether `object_name` is that of a `roster` of the deployment, of any revision."""
    return _is_revision(f"{name}-kube-clusters-", object_name)


def trust(name: str, revision: int) -> str:
    """ConfigMap with one revision of the CAs that members trust, from the second one on. Immutable from its creation."""
    return f"{name}-trust-{revision}"


def is_trust(name: str, object_name: str) -> bool:
    """Whether `object_name` is that of a `trust` of the deployment, of any revision."""
    return _is_revision(f"{name}-trust-", object_name)


def _is_revision(start: str, object_name: str) -> bool:
    revision = object_name.rpartition("-")[2]
    return object_name.startswith(start) and revision.isascii() and revision.isdigit() and object_name == start + revision


def members(name: str) -> str:
    """ConfigMap with the bindings of all members, the same in every kube cluster."""
    return f"{name}-members"


def join(name: str) -> str:
    """ConfigMap with the join list and what is rendered from it; equal in all kube clusters."""
    return f"{name}-join"


def rollout(name: str) -> str:
    """ConfigMap with the journal of the latest rollout, and Lease that is its lock."""
    return f"{name}-rollout"


def config(name: str) -> str:
    """ConfigMap with the system's configuration files."""
    return f"{name}-config"


def workload(name: str, member: str = "") -> str:
    """StatefulSet of a member, or (without member) the DaemonSet; Secrets and budgets use the same names."""
    return f"{name}-{member}" if member else name


def guard(name: str, member: str) -> str:
    """Deployment with the guard pods of a member's node, and their budget."""
    return f"{workload(name, member)}-guard"


def guard_selector(name: str) -> str:
    """Label selector of the guard pods of a deployment."""
    return f"{GUARD_LABEL}={name}"


def certificates(name: str, number: int) -> str:
    """Secret with the certificates of a DaemonSet's hosts, one of several. The first has the DaemonSet's name, as the only one of version 0.2.0 had."""
    return f"{name}-certificates-{number}" if number else workload(name)


def member(kube_cluster: str, ordinal: int) -> str:
    """Name of a member; it outlives the VMs that the member runs on."""
    return f"{kube_cluster}-{ordinal}"
