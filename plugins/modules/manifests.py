#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: manifests
short_description: Applies, prunes and deletes many objects in many kube clusters at once
version_added: "0.1.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Brings all O(objects) of all kube clusters to life in one call - Namespaces first, then what workloads refer to, then workloads; the
    kube clusters side by side and with at most 8 connections to each API server.
  - Reads with one LIST for each kind, namespace and kube cluster, and sends one PATCH (server-side apply, field manager
    C(hostnet.multicluster)) for each object that differs. Where nothing differs, nothing is sent.
  - Whether an object differs is seen from its annotation C(hostnet.multicluster/applied), the hash of the manifest applied last, and from
    the values of all fields of the manifest.
  - Nothing is written before every kube cluster has answered. Fields that other field managers hold are taken over.
  - A field with the value C(null) is taken as not given.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.wait
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.diff
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - Objects in existing namespaces are sent as a dry run, so that the API server's own validation is seen.
  diff_mode:
    details:
      - Shows the differing fields alone. The data of Secrets is shown as the first digits of its SHA-256.
options:
  objects:
    description:
      - The objects, each with the kube cluster it belongs to.
      - Their order does not matter. An object given twice is an error.
    type: list
    elements: dict
    required: true
    suboptions:
      kube_cluster:
        description:
          - Name of one of O(kube_clusters).
        type: str
        required: true
      definition:
        description:
          - The manifest. O(state=absent) needs C(apiVersion), C(kind) and C(metadata) alone.
        type: dict
        required: true
      files:
        description:
          - Only for a Secret - its keys whose data is read from files of the controller, as a dictionary from key to path.
          - The data never shows in any output. In check mode a file may be missing, because an earlier task of the play would have made it.
        type: dict
      create_only:
        description:
          - Create the object where it does not exist, and leave it alone where it does.
        type: bool
        default: false
  state:
    description:
      - Whether the objects shall exist.
      - With V(absent) workloads are deleted first and Namespaces last.
    type: str
    choices: [present, absent]
    default: present
  prune:
    description:
      - Deletes objects that are no longer wanted, in all O(kube_clusters) - those that match the selector, are not in O(objects) and were
        written by this collection's field manager.
      - Only after all O(objects) were applied without an error. Not with O(state=absent).
    type: dict
    suboptions:
      label_selector:
        description:
          - Label selector of the objects that may be deleted.
        type: str
        required: true
      kinds:
        description:
          - Kinds of the objects that may be deleted, such as V(Secret) or V(apps/v1/StatefulSet). Namespaces are never pruned.
        type: list
        elements: str
        required: true
      namespace:
        description:
          - Their namespace.
        type: str
        required: true
  wait:
    description:
      - Whether to wait until what was applied is ready and what was deleted is gone (the object with that very UID).
      - StatefulSets and DaemonSets are ready when all their pods are and the controller has seen the newest template. With the update
        strategy C(OnDelete) pods of an older template count too.
      - Deployments are ready when all their replicas are updated and available, Pods when they are ready or have succeeded, Namespaces when
        they are active. Other kinds are ready at once.
      - An object, or the namespace of objects, that is still being deleted is waited for too before it is re-created. Without O(wait) that
        is an error.
      - All kube clusters and objects are waited for together, with one watch for each kind and namespace of a kube cluster.
"""

EXAMPLES = r"""
- name: A namespace and a member's certificate in two kube clusters
  hostnet.multicluster.manifests:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    objects:
      - kube_cluster: east
        definition:
          apiVersion: v1
          kind: Namespace
          metadata:
            name: hostnet-example
            labels:
              pod-security.kubernetes.io/enforce: privileged
      - kube_cluster: east
        definition:
          apiVersion: v1
          kind: Secret
          metadata:
            name: etcd-east-0-certs
            namespace: hostnet-example
            labels:
              app.kubernetes.io/part-of: etcd
        files:
          node.crt: "{{ pki_dir }}/node.crt"
          node.key: "{{ pki_dir }}/node.key"
      - kube_cluster: west
        definition:
          apiVersion: v1
          kind: Namespace
          metadata:
            name: hostnet-example
            labels:
              pod-security.kubernetes.io/enforce: privileged
    prune:
      label_selector: app.kubernetes.io/part-of=etcd
      kinds: [Secret, ConfigMap]
      namespace: hostnet-example
    wait: true

- name: Write a record once and never change it
  hostnet.multicluster.manifests:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    objects:
      - kube_cluster: east
        create_only: true
        definition:
          apiVersion: v1
          kind: ConfigMap
          metadata:
            name: etcd-record
            namespace: hostnet-example
          data:
            token: first

- name: Delete an object and wait until it is gone
  hostnet.multicluster.manifests:
    kube_clusters: "{{ hostnet_kube_clusters }}"
    state: absent
    wait: true
    wait_timeout: 60
    objects:
      - kube_cluster: east
        definition:
          apiVersion: v1
          kind: ConfigMap
          metadata:
            name: etcd-record
            namespace: hostnet-example
"""

RETURN = r"""
objects:
  description: What happened, or in check mode would happen, to each of O(objects), in their order, and to what was pruned.
  returned: always
  type: list
  elements: dict
  contains:
    kube_cluster:
      description: Name of its kube cluster.
      type: str
    api_version:
      description: Its API version.
      type: str
    kind:
      description: Its kind.
      type: str
    namespace:
      description: Its namespace, empty where it has none.
      type: str
    name:
      description: Its name.
      type: str
    action:
      description: V(created), V(changed), V(unchanged), V(deleted), or V(kept) for an existing object with O(objects[].create_only).
      type: str
  sample:
    - kube_cluster: east
      api_version: v1
      kind: Secret
      namespace: hostnet
      name: etcd-east-0-certs
      action: created
failures:
  description: One line for each object that failed.
  returned: on failure
  type: list
  elements: str
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 4
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import apply, client, objects
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import manifests

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "objects": objects.objects_argument(),
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "prune": {
        "type": "dict",
        "options": {
            "label_selector": {"type": "str", "required": True},
            "kinds": {"type": "list", "elements": "str", "required": True},
            "namespace": {"type": "str", "required": True},
        },
    },
    "wait": {"type": "bool", "default": False},
    "wait_timeout": {"type": "int", "default": 120},
}


def load(params: dict[str, Any], planning: bool) -> list[manifests.Manifest]:
    """The manifests of the module's parameters. Raises ManifestError."""
    absent = params["state"] == "absent"
    if absent and params["prune"]:
        raise manifests.ManifestError("prune and state: absent exclude each other; name what is to be deleted in objects")
    return objects.read_objects(params, planning, absent)


def carry_out(call: _call.Call) -> apply.Outcome:
    """Raises ManifestError and KubeError."""
    params = call.params
    wanted = load(params, call.check_mode)
    if params["state"] == "absent":
        return apply.delete_manifests(call.clusters, wanted, params["wait"], params["wait_timeout"], call.check_mode)
    prune = apply.Prune(**params["prune"]) if params["prune"] else None
    return apply.apply_manifests(call.clusters, wanted, prune, params["wait"], params["wait_timeout"], call.check_mode)


def run(call: _call.Call) -> dict[str, Any]:
    try:
        outcome = carry_out(call)
    except manifests.ManifestError as error:
        raise _call.Failure(str(error)) from error
    finally:
        objects.hide_secrets(call.params)
    result: dict[str, Any] = {"changed": outcome.changed, "objects": outcome.objects}
    if call.diff:
        result["diff"] = objects.ansible_diff(outcome.diff)
    if outcome.failures:
        raise _call.Failure(outcome.failure_text(), failures=[str(failure) for failure in outcome.failures], **result)
    return result


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
