# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of `kube_clusters` and `lock`; must say what module_utils/_cluster/session/options.py and client.py say."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  kube_clusters:
    description:
      - The Kubernetes clusters to work on, all in one call.
      - The inventory plugin P(hostnet.multicluster.nodes#inventory) puts this list into the variable C(hostnet_kube_clusters).
      - The options of an entry are named as those of the C(kubernetes.core) collection.
      - An option wins over the kubeconfig wholly. Credentials of users may be tokens, token files, client certificates, C(exec) plugins, OpenID Connect
        (C(auth-provider) V(oidc)), and user and password. What a plugin or login gives is kept in memory for all tasks until shortly before it expires.
      - In a pod with a service account and without any kubeconfig, the kube cluster is the one of the pod.
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
          - Path of the kubeconfig file on the controller. Several paths, joined as in the environment variable, are merged as C(kubectl) does; each
            of them has to be there.
          - Without it the environment variables E(K8S_AUTH_KUBECONFIG) and E(KUBECONFIG) are asked, where files that are missing are passed over,
            then C(~/.kube/config).
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
          - Bearer token. All credentials of the kubeconfig's user are left out then.
        type: str
      ca_cert:
        description:
          - Path of the certificate of the CA that signed the API server's certificate, in place of what the kubeconfig says about that certificate.
        type: path
        aliases: [ssl_ca_cert]
      client_cert:
        description:
          - Path of a client certificate (PEM). All credentials of the kubeconfig's user are left out then.
        type: path
        aliases: [cert_file]
      client_key:
        description:
          - Path of the client certificate's key, which may also be in the file of the certificate.
        type: path
        aliases: [key_file]
      validate_certs:
        description:
          - Whether the API server's certificate is verified. With V(false) no CA is used. With V(true) a C(insecure-skip-tls-verify) of the kubeconfig
            stays in force, unless O(kube_clusters[].ca_cert) is given.
        type: bool
        default: true
        aliases: [verify_ssl]
      tls_server_name:
        description:
          - Name to expect in the API server's certificate where it is reached under another one.
        type: str
      proxy:
        description:
          - URL of a proxy to the API server, V(http://) or V(https://), with user and password where it wants them. SOCKS proxies are not supported.
          - Without it C(proxy-url) of the kubeconfig is used, then the environment variables E(HTTPS_PROXY) and E(HTTP_PROXY), as C(kubectl) does.
        type: str
      no_proxy:
        description:
          - Comma-separated host names, domains, addresses and networks that are reached without a proxy, wherever that is named; V(*) for all. An
            item may end in a port.
          - Without it the environment variable E(NO_PROXY) is obeyed for the proxies of the environment.
        type: str
      impersonate_user:
        description:
          - User to act as; your own user needs the verb C(impersonate) for it. Given, C(as), C(as-groups), C(as-uid) and C(as-user-extra) of the
            kubeconfig do not count.
        type: str
      impersonate_groups:
        description:
          - Groups to act as, together with O(kube_clusters[].impersonate_user).
        type: list
        elements: str
      request_timeout:
        description:
          - Seconds in which one request must be answered, with all its tries.
        type: float
        default: 60
requirements:
  - python >= 3.11
  - The Python packages urllib3 >= 2.0, websocket-client >= 1.4 and PyYAML, in the Python of ansible-playbook itself where the connection is local
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

    # Modules that only decide, or work on the controller's files.
    IGNORED = r"""
options:
  kube_clusters:
    description:
      - Ignored. It is accepted so that C(group/hostnet.multicluster.hostnet) in C(module_defaults) serves this module's neighbours without an error here;
        this module talks to no API server.
    type: list
    elements: dict
  lock:
    description:
      - Ignored, as O(kube_clusters) is.
    type: dict
"""
