#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: identity
short_description: Claims and records the identity of a deployment, once
version_added: "0.1.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - A deployment has one identity - a token made when it is first deployed, the fingerprint of its CA, and later the cluster id that
    the system itself reported. This module writes it into every kube cluster, in sorted order, and never changes it.
  - Claiming comes before the system is initialised. Of two controllers that claim at the same time one wins in the first kube
    cluster. The other one gets the winner's claim back and must go on with it or stop.
  - Nothing in this module starts or initialises a system.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  name:
    description: Name of the deployment.
    type: str
    required: true
  namespace:
    description: Its namespace, which must exist in every kube cluster.
    type: str
    required: true
  system:
    description: The kind of distributed system, for example V(etcd).
    type: str
    required: true
  placement:
    description: How members are pinned. A deployment never changes it, so it belongs to its identity.
    type: str
    required: true
  ca_fingerprint:
    description: SHA-256 fingerprint of the CA certificate, lower case hex without colons.
    type: str
    required: true
  token:
    description:
      - The token that a new claim gets. Systems use it as the name of the cluster, so that members of another one never join.
      - Where a claim exists already, its token is kept and returned.
    type: str
    required: true
  members:
    description: Names of the first members, in the order in which the system is initialised.
    type: list
    elements: str
    default: []
  roster:
    description:
      - Which kube clusters the deployment has, as C(roster) of the plan - C(revision), C(kube_clusters) and C(lost) (UID of the namespace
        C(kube-system) by name), and C(data_root).
      - Revision 1 becomes a part of a new claim. Any other one, and that of a claim which has none, gets a ConfigMap of its own, create-only like the claim.
    type: dict
    suboptions:
      revision:
        description: Its number, which is one more than that of the one before.
        type: int
        required: true
      kube_clusters:
        description: UID of the namespace C(kube-system) by name of the kube cluster.
        type: dict
        required: true
      lost:
        description: The same of kube clusters that were taken out because they are gone for good.
        type: dict
        default: {}
      data_root:
        description: The folder on the nodes below which members have their data.
        type: str
        required: true
  trust:
    description:
      - Which CAs members trust, as C(trust) of the plan. Revision 1 is that of the claim. Any other one gets a ConfigMap of its own, create-only like
        the claim.
    type: dict
    version_added: "0.4.0"
    suboptions:
      revision:
        description: Its number, which is one more than that of the one before.
        type: int
        required: true
      trusted:
        description: SHA-256 fingerprints of the CAs that members trust, the older one first.
        type: list
        elements: str
        required: true
      issuer:
        description: That one of them which issues certificates.
        type: str
        required: true
      dropped:
        description: Those that were trusted by the revision before, and are not any more.
        type: list
        elements: str
        default: []
  trust_phase:
    description:
      - The phase of an exchange of the CA whose revision is written, the one that follows O(trust). Without it O(trust) itself is.
      - A phase that is not the next one is an error, and then nothing is written.
    type: str
    choices: [trust, issue, drop, abandon]
    version_added: "0.4.0"
  new_ca_fingerprint:
    description:
      - SHA-256 fingerprint of the new CA, with O(trust_phase=trust).
    type: str
    default: ""
    version_added: "0.4.0"
  run_id:
    description: Who claims. Only for people that read the record.
    type: str
    default: ""
  cluster_id:
    description: The cluster id that the system reported. Empty while only claiming. A record of another cluster id is an error.
    type: str
    default: ""
  former_cluster_id:
    description:
      - The recorded cluster id that O(cluster_id) replaces, after the system was brought back from a disaster by its own means. The role
        C(adopt) alone gives it, when the members have proven what they are, and a human has named O(cluster_id).
      - The record of this cluster id is deleted and re-created in each kube cluster, in sorted order. The old value stays in its annotation
        C(hostnet.multicluster/former-cluster-id). A record of a third cluster id is an error, and then nothing is replaced.
    type: str
    version_added: "0.3.0"
"""

EXAMPLES = r"""
- name: Claim the right to initialise
  hostnet.multicluster.identity:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
    system: etcd
    placement: node_name
    ca_fingerprint: "{{ certificates.ca.fingerprint }}"
    token: ledger-5f0c9a71
    members: [east-0, east-1, west-0]
    roster:
      revision: 1
      kube_clusters: "{{ {'east': east_uid, 'west': west_uid} }}"
      lost: {}
      data_root: /var/lib/hostnet

- name: Record the cluster id that every member reported
  hostnet.multicluster.identity:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    name: ledger
    namespace: ledger
    system: etcd
    placement: node_name
    ca_fingerprint: "{{ certificates.ca.fingerprint }}"
    token: ledger-5f0c9a71
    cluster_id: "8d2f6b1c9e3a4f70"
"""

RETURN = r"""
identity:
  description: The claim that is in force, which may be another controller's.
  returned: success
  type: dict
  contains:
    token:
      description: The deployment's token.
      type: str
      returned: success
    system:
      description: The kind of distributed system.
      type: str
      returned: success
    placement:
      description: The placement.
      type: str
      returned: success
    ca_fingerprint:
      description: SHA-256 fingerprint of the CA certificate.
      type: str
      returned: success
    members:
      description: Names of the first members, joined by commas.
      type: str
      returned: success
    claimed_by:
      description: The run that claimed.
      type: str
      returned: success
    kube_clusters:
      description: The kube clusters that it was claimed with, as JSON - UID of the namespace kube-system by name.
      type: str
      returned: when the claim has them
    data_root:
      description: The data root that it was claimed with.
      type: str
      returned: when the claim has it
cluster_id:
  description: The recorded cluster id, empty while the deployment is only claimed.
  returned: success
  type: str
won:
  description: Whether the claim in force carries the token that was given.
  returned: success
  type: bool
requests:
  description: API requests sent.
  returned: always
  type: int
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.adopt import replace_record
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.identity import IdentityConflict, record_labels, write_record
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import names, trust_revisions
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import roster as rosters

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "system": {"type": "str", "required": True},
    "placement": {"type": "str", "required": True},
    "ca_fingerprint": {"type": "str", "required": True},
    "token": {"type": "str", "required": True, "no_log": False},
    "members": {"type": "list", "elements": "str", "default": []},
    "roster": {
        "type": "dict",
        "options": {
            "revision": {"type": "int", "required": True},
            "kube_clusters": {"type": "dict", "required": True},
            "lost": {"type": "dict", "default": {}},
            "data_root": {"type": "str", "required": True},
        },
    },
    "trust": {
        "type": "dict",
        "options": {
            "revision": {"type": "int", "required": True},
            "trusted": {"type": "list", "elements": "str", "required": True},
            "issuer": {"type": "str", "required": True},
            "dropped": {"type": "list", "elements": "str", "default": []},
        },
    },
    "trust_phase": {"type": "str", "choices": [*trust_revisions.PHASES, trust_revisions.ABANDON]},
    "new_ca_fingerprint": {"type": "str", "default": ""},
    "run_id": {"type": "str", "default": ""},
    "cluster_id": {"type": "str", "default": ""},
    "former_cluster_id": {"type": "str"},
}


def refuse_another(params: client.Json, found: client.Json, claim: client.Json) -> None:
    """Raises IdentityConflict where the claim in force is not of this deployment."""
    for field in ("system", "placement", "ca_fingerprint"):
        if found.get(field) != claim[field]:
            raise IdentityConflict(
                f"deployment {params['name']} in namespace {params['namespace']} is recorded with {field} {found.get(field)!r}, this run has "
                f"{claim[field]!r}: another deployment has this name. Choose another hostnet_name, or give this run the recorded {field}"
            )


def write_roster(call: _call.Call, claim: client.Json, labels: dict[str, str]) -> list[str]:
    """Writes the roster that was given where neither the claim nor a ConfigMap has it. Returns the kube clusters that got it."""
    wanted = call.params["roster"]
    if wanted is None:
        return []
    roster = rosters.make(wanted["kube_clusters"], wanted["data_root"], wanted["revision"], wanted["lost"])
    if rosters.parse(claim) == roster:
        return []
    name = names.roster(call.params["name"], roster["revision"])
    record, created = write_record(call.clusters, call.params["namespace"], name, labels, rosters.dump(roster), call.check_mode)
    if rosters.parse(record) != roster:
        raise IdentityConflict(
            f"ConfigMap {call.params['namespace']}/{name} records other kube clusters than this run has: they were changed in the meantime; run again"
        )
    return created


def wanted_trust(params: client.Json) -> trust_revisions.Trust | None:
    """The trust revision that is to be written: the one that was given, or the one that follows it. Raises IdentityConflict where none does."""
    wanted = params["trust"]
    if wanted is None:
        return None
    trust = trust_revisions.make(wanted["revision"], wanted["trusted"], wanted["issuer"], wanted["dropped"])
    if params["trust_phase"] is None:
        return trust
    try:
        return trust_revisions.following(trust, params["trust_phase"], params["new_ca_fingerprint"])
    except ValueError as error:
        raise IdentityConflict(str(error)) from error


def write_trust(call: _call.Call, trust: trust_revisions.Trust | None, labels: dict[str, str]) -> list[str]:
    """Writes this trust revision, from the second one on. Returns the kube clusters that got it."""
    if trust is None or trust["revision"] == 1:
        return []
    if trust_revisions.parse(trust_revisions.dump(trust)) != trust:
        raise IdentityConflict(
            f"trust is {trust}, which is no trust revision: trusted needs one or two fingerprints, and issuer must be one of them"
        )
    name = names.trust(call.params["name"], trust["revision"])
    record, created = write_record(call.clusters, call.params["namespace"], name, labels, trust_revisions.dump(trust), call.check_mode)
    if trust_revisions.parse(record) != trust:
        raise IdentityConflict(
            f"ConfigMap {call.params['namespace']}/{name} records other CAs than this run has: somebody else exchanges them too; run again"
        )
    return created


def adopted(params: client.Json, claim: client.Json, replaced: list[str]) -> dict[str, Any]:
    """The result of a check that would replace the record."""
    text = "".join(f"identity record in kube cluster {name}\n" for name in replaced)
    return {
        "changed": True,
        "identity": claim,
        "cluster_id": params["cluster_id"],
        "won": claim.get("token") == params["token"],
        "diff": {"before": "", "after": text},
    }


def claim_and_record(call: _call.Call) -> dict[str, Any]:
    """Writes what is missing and returns the module's result. Raises IdentityConflict and KubeError."""
    params = call.params
    trust = wanted_trust(params)
    labels = record_labels(params["name"], params["system"])
    claim = {
        "token": params["token"],
        "system": params["system"],
        "placement": params["placement"],
        "ca_fingerprint": params["ca_fingerprint"],
        "members": ",".join(params["members"]),
        "claimed_by": params["run_id"],
    }
    if params["roster"] and params["roster"]["revision"] == 1:
        first = rosters.dump(rosters.make(params["roster"]["kube_clusters"], params["roster"]["data_root"]))
        claim |= {key: first[key] for key in ("kube_clusters", "data_root")}
    name = names.identity(params["name"])
    cluster_id = ""
    created: list[str] = []
    if params["cluster_id"]:
        # Nothing of this deployment is written into a kube cluster where the name is another one's.
        found, _would_create = write_record(call.clusters, params["namespace"], name, labels, claim, True)
        refuse_another(params, found, claim)
        # Before the claim: a run that restores a lost record and dies in between must not leave a claim that looks unfinished.
        wanted = {"cluster_id": params["cluster_id"], "token": params["token"]}
        replaced: list[str] = []
        if params["former_cluster_id"] is not None:
            replaced = replace_record(
                call.clusters,
                params["namespace"],
                names.cluster_record(params["name"]),
                labels,
                wanted,
                params["former_cluster_id"],
                call.check_mode,
            )
            if replaced and call.check_mode:
                return adopted(params, found, replaced)
        record, created = write_record(
            call.clusters, params["namespace"], names.cluster_record(params["name"]), labels, wanted, call.check_mode
        )
        created += replaced
        cluster_id = record.get("cluster_id", "")
        if cluster_id != params["cluster_id"]:
            raise IdentityConflict(
                f"deployment {params['name']} is recorded with cluster id {cluster_id}, but its members now report "
                f"{params['cluster_id']}: this is a second cluster. Stop here, change nothing by hand, and read docs/recovery.md"
            )
        if record != wanted:
            raise IdentityConflict(
                f"deployment {params['name']}: cluster id {cluster_id} is recorded for token {record.get('token')!r}, and this run has "
                f"token {params['token']!r}: the claim was deleted or edited. Stop here, and read docs/recovery.md"
            )
    identity, claimed = write_record(call.clusters, params["namespace"], name, labels, claim, call.check_mode)
    created += claimed
    refuse_another(params, identity, claim)
    created += write_roster(call, identity, labels) + write_trust(call, trust, labels)
    text = "".join(f"identity record in kube cluster {name}\n" for name in sorted(set(created)))
    return {
        "changed": bool(created),
        "identity": identity,
        "cluster_id": cluster_id,
        "won": identity.get("token") == params["token"],
        "diff": {"before": "", "after": text},
    }


def run(call: _call.Call) -> dict[str, Any]:
    try:
        return claim_and_record(call)
    except IdentityConflict as error:
        raise _call.Failure(str(error)) from error


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
