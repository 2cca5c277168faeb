# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of `kube_clusters` and `lock`; must say what the functions in module_utils/_cluster/client.py say."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  kube_clusters:
    description:
      - The Kubernetes clusters to work on, all in one call.
      - The inventory plugin P(hostnet.multicluster.nodes#inventory) puts this list into the variable C(hostnet_kube_clusters).
      - The options of an entry are named as those of the C(kubernetes.core) collection.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Your name for this kube cluster, a DNS label such as V(east). It is the first part of the names of its members.
        type: str
        required: true
      kubeconfig:
        description:
          - Path of the kubeconfig file on the controller.
          - Without it the environment variables E(K8S_AUTH_KUBECONFIG) and E(KUBECONFIG) are asked, then C(~/.kube/config).
        type: path
      context:
        description:
          - Context of the kubeconfig; its current context when omitted.
        type: str
      host:
        description:
          - URL of the API server. Given without O(kube_clusters[].kubeconfig) and O(kube_clusters[].context), no kubeconfig is read.
        type: str
      api_key:
        description:
          - Bearer token.
        type: str
      ca_cert:
        description:
          - Path of the certificate of the CA that signed the API server's certificate.
        type: path
        aliases: [ssl_ca_cert]
      client_cert:
        description:
          - Path of a client certificate.
        type: path
        aliases: [cert_file]
      client_key:
        description:
          - Path of the client certificate's key.
        type: path
        aliases: [key_file]
      validate_certs:
        description:
          - Whether the API server's certificate is verified.
        type: bool
        default: true
        aliases: [verify_ssl]
      tls_server_name:
        description:
          - Name to expect in the API server's certificate where it is reached under another one.
        type: str
      proxy:
        description:
          - URL of an HTTP proxy to the API server.
        type: str
      no_proxy:
        description:
          - Comma-separated host names and domains that are reached without the proxy.
        type: str
      impersonate_user:
        description:
          - User to act as; your own user needs the verb C(impersonate) for it.
        type: str
      impersonate_groups:
        description:
          - Group to act as, at most one.
        type: list
        elements: str
requirements:
  - python >= 3.11
  - kubernetes (Python package) >= 30.0.0, in the Python of ansible-playbook itself where the connection is local
"""

    # For modules: the inventory plugin changes nothing and has no deployment.
    LOCK = r"""
options:
  lock:
    description:
      - The deployment's lock, as RV(hostnet.multicluster.rollout_lock#module:lock) has it.
      - Given, the module first reads the lock in every kube cluster and fails, having changed nothing, where another run has taken it over.
    type: dict
    suboptions:
      name:
        description:
          - Name of the deployment.
        type: str
        required: true
      namespace:
        description:
          - Its namespace.
        type: str
        required: true
      holder:
        description:
          - The run that holds the lock.
        type: str
        required: true
      generation:
        description:
          - The number that the lock got when this run took it.
        type: int
        required: true
      neighbours:
        description:
          - Locks of other deployments that this run holds too, because they have members on the same VMs. They are verified like the first one.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description:
              - Name of the deployment.
            type: str
            required: true
          namespace:
            description:
              - Namespace of the deployment.
            type: str
            required: true
          holder:
            description:
              - The run that holds the lock.
            type: str
            required: true
          generation:
            description:
              - The number that the lock got when this run took it.
            type: int
            required: true
          kube_clusters:
            description:
              - Names of the kube clusters that have it.
            type: list
            elements: str
            required: true
"""
