# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E402  # ansible-test wants the documentation before the imports
from __future__ import annotations

DOCUMENTATION = r"""
name: nodes
short_description: Nodes of several kube clusters as hosts
version_added: "0.1.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Reads the nodes of all kube clusters at the same time and makes a host of each. Modules for these hosts run on the controller
    (C(ansible_connection=local)); nothing is installed on the nodes, and SSH is not needed.
  - Each host has C(hostnet_node) (what M(hostnet.multicluster.nodes_info) returns about a node), C(hostnet_kube_cluster), and
    C(ansible_host), the node's address.
  - The groups are C(kube_cluster_<name>), C(region_<region>) and C(zone_<zone>), all of them children of C(hostnet_nodes).
  - The group C(all) gets C(hostnet_kube_clusters), the list that the modules' option C(kube_clusters) takes, C(hostnet_node_selector),
    C(hostnet_address_type), and C(hostnet_absent_kube_clusters), the names of those that did not answer.
  - Several sources of this plugin (one file for each kube cluster, all given with C(-i) or in one folder) add up, in any order. Sources that
    contradict each other are an error, and so is one that cannot be read. As Ansible may go on after such an error with the sources that are
    left, it is kept in C(hostnet_inventory_errors) of the group C(all), and playbooks that change something refuse to work then.
  - The source is a file named C(hostnet.yml), or one whose name ends in C(.hostnet.yml); C(.yaml) will do as well.
extends_documentation_fragment:
  - constructed
  - inventory_cache
  - hostnet.multicluster.kube_clusters
options:
  plugin:
    description:
      - The name of this plugin.
    type: str
    required: true
    choices: [hostnet.multicluster.nodes]
  kube_clusters:
    description:
      - The kube clusters, with the options that the modules know. Or the word V(all_contexts), for every context of the kubeconfig under its own
        name. That is for kubeconfigs that a tool makes for one deployment, such as a lab's; in one that people log in with it would be a guess.
      - Values may be templates.
    required: false
  kubeconfig:
    description:
      - The kubeconfig of each entry of O(kube_clusters) that names none. It may be a template; C(~) is expanded.
      - A relative path starts at the folder of the inventory file. Several files are joined as in the environment variable; of those that the
        environment variable names, only the ones that are there are taken.
      - Where it is not given and not one of the files is there, in a pod with a service account, the kube cluster of the pod is meant.
    type: str
    default: ~/.kube/config
    env:
      # The last one that is set counts.
      - name: KUBECONFIG
      - name: K8S_AUTH_KUBECONFIG
  node_selector:
    description:
      - Label selector of the nodes that are to carry members, as C(kubectl get nodes -l) takes it. Empty for all nodes, which playbooks refuse.
      - Without this option the inventory lists all nodes but those of control planes, C(hostnet_node_selector) is not set, and playbooks that give
        a member a node refuse to work - each node that matches gets a member, and no selector is the right one for everybody.
    type: str
  address_type:
    description:
      - Which address of a node counts - V(InternalIP), V(ExternalIP), or the name of a node annotation that holds the address.
    type: str
    default: InternalIP
  absent_ok:
    description:
      - Names of kube clusters that may fail to answer. Their nodes are missing then, their names in C(hostnet_absent_kube_clusters).
      - C(deploy.yml) refuses to work while one is absent. Refused credentials are an error even for these.
    type: list
    elements: str
    default: []
  qualified_names:
    description:
      - Whether a host is named C(<node>.<kube cluster>) instead of C(<node>). Needed where two kube clusters have nodes of the same name.
    type: bool
    default: false
notes:
  - A kube cluster that does not answer is an error that names it. Ansible itself goes on with a warning and without hosts after an
    inventory error. To stop there, set E(ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED), or C(any_unparsed_is_failed=true) in the section
    C(inventory) of C(ansible.cfg).
  - With O(cache) the nodes are kept, credentials never. A reading in which a kube cluster was absent is not kept, and what was read
    with other options is not used.
seealso:
  - module: hostnet.multicluster.nodes_info
"""

EXAMPLES = r"""
# lab.hostnet.yml: every context of a kubeconfig that was made for this purpose. The names of the contexts must be DNS labels.
- plugin: hostnet.multicluster.nodes
  kubeconfig: ~/.cache/lab/kubeconfig
  kube_clusters: all_contexts

# production.hostnet.yml: names of your own for the contexts that a cloud's tool made, and groups by machine type
- plugin: hostnet.multicluster.nodes
  kubeconfig: "{{ lookup('ansible.builtin.env', 'HOME') }}/.kube/production"
  kube_clusters:
    - name: east
      context: gke_ledger_us-east1_db
    - name: west
      context: gke_ledger_us-west1_db
  node_selector: cloud.google.com/gke-nodepool=db
  keyed_groups:
    - key: hostnet_node.labels['node.kubernetes.io/instance-type']
      prefix: machine
  compose:
    rack: hostnet_node.labels['example.com/rack'] | default('none')
  groups:
    cordoned: hostnet_node.unschedulable

# status.hostnet.yml: for looking on while a kube cluster is down
- plugin: hostnet.multicluster.nodes
  kube_clusters: [{name: east, context: east}, {name: west, context: west}]
  absent_ok: [west]
  qualified_names: true
  cache: true
  cache_plugin: ansible.builtin.jsonfile
  cache_connection: ~/.cache/ledger-inventory
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.inventory.group import to_safe_group_name
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.template import trust_as_template

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import named as named_clusters
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.nodes import read_nodes
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import libraries
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.nodes import LISTED, Node, host_names, merge_sources, unknown_error
from ansible_collections.hostnet.multicluster.plugins.plugin_utils import preload

preload.for_all_forks()

_FILE_NAMES = ("hostnet.yml", "hostnet.yaml")
_TEMPLATED = ("kube_clusters", "kubeconfig", "node_selector", "address_type", "absent_ok")
_PARENT_GROUP = "hostnet_nodes"


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The plugin as Ansible loads it."""

    NAME = "hostnet.multicluster.nodes"

    def verify_file(self, path: str) -> bool:
        """True for hostnet.yml and *.hostnet.yml."""
        name = os.path.basename(path)
        return bool(super().verify_file(path)) and (name in _FILE_NAMES or name.endswith(tuple(f".{known}" for known in _FILE_NAMES)))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory. Raises AnsibleParserError for wrong options and for a kube cluster that does not answer."""
        super().parse(inventory, loader, path)
        try:
            self._parse(path, cache)
        except AnsibleParserError as error:
            # Ansible may go on without this source, and half of the kube clusters must not look like all of them.
            self._set("hostnet_inventory_errors", [*self._before("hostnet_inventory_errors", []), f"inventory source {path}: {error}"])
            raise

    def _parse(self, path: str, cache: bool) -> None:
        if lacking := libraries.missing():
            raise AnsibleParserError(lacking)
        given = self._read_config_data(path)
        options = self._templated_options()
        options["kube_clusters"] = self._kube_clusters(options, path, named=bool(given.get("kubeconfig")))
        names = [entry["name"] for entry in options["kube_clusters"]]
        unknown = unknown_error("absent_ok", options["absent_ok"], names)
        if unknown:
            raise AnsibleParserError(unknown)

        known = self._before("hostnet_kube_clusters", [])
        merged, error = merge_sources(known, options["kube_clusters"])
        for option in ("node_selector", "address_type"):
            other = self._before(f"hostnet_{option}", None) if known else options[option]
            if other != options[option] and not error:
                mine, theirs = ("none" if value is None else repr(value) for value in (options[option], other))
                error = f"{option} is {mine}, and an inventory source before this one has {theirs}: give all of them the same"
        if error:
            raise AnsibleParserError(error)
        # Before the nodes are read: a status names a kube cluster that does not answer too.
        self._set("hostnet_kube_clusters", merged)
        if options["node_selector"] is not None:
            self._set("hostnet_node_selector", options["node_selector"])
        self._set("hostnet_address_type", options["address_type"])

        nodes, absent = self._nodes(options, path, cache)
        try:
            hosts = host_names(nodes, self.get_option("qualified_names"))
        except ValueError as error:
            raise AnsibleParserError(str(error)) from None
        for host, node in zip(hosts, nodes, strict=True):
            present = self.inventory.get_host(host)
            other = str(present.vars.get("hostnet_kube_cluster", node["kube_cluster"])) if present else node["kube_cluster"]
            if other != node["kube_cluster"]:
                raise AnsibleParserError(
                    f"kube clusters {other} and {node['kube_cluster']} both have a node {host}; set qualified_names: true"
                )

        self._set("hostnet_absent_kube_clusters", sorted({*self._before("hostnet_absent_kube_clusters", []), *absent}))
        self.inventory.add_group(_PARENT_GROUP)
        for name in names:
            self._group("kube_cluster", name)
        for host, node in zip(hosts, nodes, strict=True):
            self._add_node(host, node)

    def _before(self, variable: str, default: Any) -> Any:
        """What an earlier source has set for the group `all`."""
        return self.inventory.groups["all"].vars.get(variable, default)

    def _set(self, variable: str, value: Any) -> None:
        self.inventory.set_variable("all", variable, value)

    # -- options -------------------------------------------------------------------------------------------------

    def _templated_options(self) -> dict[str, Any]:
        if self.get_option("use_extra_vars"):
            self.templar.available_variables = self._vars
        values: dict[str, Any] = {}
        for option in _TEMPLATED:
            try:
                values[option] = self.templar.template(self.get_option(option))
            except Exception as error:  # templates fail in many ways; all of them are the user's to repair here
                raise AnsibleParserError(f"option {option}: {error}") from None
        return values

    def _kube_clusters(self, options: Mapping[str, Any], path: str, named: bool) -> list[dict[str, Any]]:
        """The entries of kube_clusters with kubeconfigs as absolute paths; with the word all_contexts, one for each context.

        `named`: the inventory source itself has the option kubeconfig.
        """
        folder = os.path.dirname(os.path.abspath(path))
        try:
            return named_clusters.entries(options["kube_clusters"], options["kubeconfig"], folder, named)
        except ValueError as error:
            raise AnsibleParserError(str(error)) from None

    # -- nodes ---------------------------------------------------------------------------------------------------

    def _nodes(self, options: Mapping[str, Any], path: str, cache: bool) -> tuple[list[Node], list[str]]:
        """The nodes and the names of absent kube clusters, from the cache where the user wants that."""
        caching = self.get_option("cache")
        key, fingerprint = self.get_cache_key(path), _fingerprint(options)
        if caching and cache:
            kept = self._cache.get(key) if key in self._cache else None
            if isinstance(kept, Mapping) and kept.get("fingerprint") == fingerprint:
                return kept["nodes"], []
        try:
            clusters = client.connect(options["kube_clusters"])
            nodes, states = read_nodes(
                clusters,
                LISTED if options["node_selector"] is None else options["node_selector"],
                options["address_type"],
                options["absent_ok"],
            )
        except client.KubeError as error:
            raise AnsibleParserError(str(error)) from None
        absent = sorted(name for name, state in states.items() if state["absent"])
        for name in absent:
            self.display.warning(f"absent as absent_ok allows: {states[name]['error']}")
        if caching and absent:
            # An hour of "west is absent" after it has come back would be worse than a few requests.
            if key in self._cache:
                del self._cache[key]
        elif caching:
            self._cache[key] = {"fingerprint": fingerprint, "nodes": nodes}
        return nodes, absent

    def _group(self, kind: str, name: str) -> str:
        group = self.inventory.add_group(to_safe_group_name(f"{kind}_{name}", force=True, silent=True))
        self.inventory.add_child(_PARENT_GROUP, group)
        return str(group)

    def _add_node(self, host: str, node: Node) -> None:
        variables: dict[str, Any] = {
            "ansible_connection": "local",
            # As for Ansible's own localhost: the interpreter that has the Python libraries.
            "ansible_python_interpreter": trust_as_template("{{ ansible_playbook_python }}"),
            "hostnet_kube_cluster": node["kube_cluster"],
        }
        if node["address"]:
            variables["ansible_host"] = node["address"]
        self.inventory.add_host(host, group=self._group("kube_cluster", node["kube_cluster"]))
        for kind, name in (("region", node["region"]), ("zone", node["zone"])):
            if name:
                self.inventory.add_child(self._group(kind, name), host)
        for variable, value in variables.items():
            self.inventory.set_variable(host, variable, value)
        # InventoryData.set_variable goes over every value in it, to note the file that it came from: with many nodes that takes longer than to read them. What
        # is set here is from an API server, and is not trusted as a template either way.
        self.inventory.get_host(host).set_variable("hostnet_node", node)
        variables["hostnet_node"] = node
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, host, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, host, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host, strict=strict)


def _fingerprint(options: Mapping[str, Any]) -> str:
    """What the cached nodes were read with: other options, other nodes. No secret goes into it."""
    entries: Sequence[Mapping[str, Any]] = options["kube_clusters"]
    places = [[entry.get(field) for field in ("name", "kubeconfig", "context", "host")] for entry in entries]
    text = json.dumps([places, options["node_selector"], options["address_type"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
