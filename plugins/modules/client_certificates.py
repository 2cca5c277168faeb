#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The work is done by the action plugin of the same name: pki folder, CA key and vault secrets are on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
---
module: client_certificates
short_description: Issues, renews, lists and drops certificates of a deployment's clients
version_added: "0.4.0"
description:
  - Issues the certificates of a deployment's clients, renews those that are due, and says who has one, until when, of which CA, and whether members accept
    it. Works in the folder C(clients) of the pki folder, and changes nothing else.
  - Each client gets a folder of its own, C(clients/CLIENT), with what the system's own client reads as it is. It is written again when the certificate, the
    CAs that members trust or the addresses of members change.
  - Due are the same certificates as for M(hostnet.multicluster.host_certificates). One of a CA that is not here, and one that is not a client's, is listed
    and left alone.
options:
  hostnet:
    description:
      - The settings of the deployment, the fact C(hostnet) that the role preflight leaves.
    type: dict
    required: true
  spec:
    description:
      - The spec of the system, the fact C(hostnet_spec). Its C(client) says what is in a client's folder (docs/systems.md).
    type: dict
    required: true
  members:
    description:
      - Bindings of the members, whose addresses are in some clients' folders. Without any, these files are left as they are.
    type: list
    elements: dict
    default: []
  trust:
    description:
      - The trust revision in force. Without one nothing says which CA members trust, and that of the pki folder issues.
    type: dict
  silent:
    description:
      - Names of kube clusters that do not answer. Where all answer and O(trust) is missing, there is no deployment, and nothing is issued.
    type: list
    elements: str
    default: []
  client:
    description:
      - User that gets a certificate. Those that have one, and those that C(hostnet_clients) names, keep theirs without being named.
    type: str
    default: ""
  drop:
    description:
      - User whose certificate is given up. Key and folder are deleted. The certificate is kept in C(clients/.dropped), because members accept it until it
        expires - no system is told to refuse a single one.
    type: str
    default: ""
  ca:
    description:
      - The CA, as in M(hostnet.multicluster.host_certificates).
    type: dict
    suboptions:
      common_name:
        description:
          - Ignored, because no CA is made here.
        type: str
        default: hostnet CA
      key_type:
        description:
          - Ignored, because no CA is made here.
        type: str
        choices: [EC_P256, RSA_2048, RSA_4096]
        default: EC_P256
      valid_days:
        description:
          - Ignored, because no CA is made here.
        type: int
        default: 3650
      vault:
        description:
          - As in M(hostnet.multicluster.host_certificates).
        type: bool
      certificate:
        description:
          - PEM file with the certificate of a CA of your own, by default C(ca.crt) in the pki folder.
        type: path
      private_key:
        description:
          - PEM file with the private key of the CA, plain or encrypted with C(ansible-vault), by default C(ca.key) in the pki folder.
        type: path
      old_certificate:
        description:
          - PEM file with the certificate of a CA of your own that is being exchanged for O(ca.certificate).
        type: path
      old_private_key:
        description:
          - PEM file with its private key, by default C(ca.key) in the pki folder.
        type: path
  key_type:
    description:
      - Type of the certificates' keys.
    type: str
    choices: [EC_P256, RSA_2048, RSA_4096]
    default: EC_P256
  valid_days:
    description:
      - Days after which a certificate expires.
    type: int
    default: 365
  renew_days:
    description:
      - Issue a certificate anew when fewer days than this are left. By default a third of O(valid_days).
    type: int
requirements:
  - cryptography >= 41 (on the controller)
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters.ignored
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.on_controller
attributes:
  check_mode:
    details:
      - RV(clients) are then those that are there, with what would become of them in C(state).
  diff_mode:
    details:
      - Subjects, names, dates and reasons; never key material.
  idempotent:
    details:
      - Until fewer than O(renew_days) days are left.
  action_group:
    description: Use C(group/hostnet.multicluster.hostnet) in C(module_defaults) to give options to all modules of the group.
    support: full
    membership:
      - hostnet.multicluster.hostnet
seealso:
  - module: hostnet.multicluster.host_certificates
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
"""

EXAMPLES = r"""
- name: A certificate for alice, and a list of all
  hostnet.multicluster.client_certificates:
    hostnet: "{{ hostnet }}"
    spec: "{{ hostnet_spec }}"
    members: "{{ hostnet_bindings }}"
    trust: "{{ hostnet_deployment.plan.trust }}"
    client: alice
  register: issued

- name: Show it
  ansible.builtin.debug:
    msg: "{{ issued.lines }}"
"""

RETURN = r"""
clients:
  description: All certificates of clients, and those of clients that were dropped for as long as members accept them.
  returned: success
  type: list
  elements: dict
  contains:
    client:
      description: Name of its files.
      type: str
      returned: always
      sample: client.alice
    user:
      description: Whom it is for.
      type: str
      returned: always
      sample: alice
    serial:
      description: Serial number in lower-case hexadecimal digits. Empty for one that would be issued.
      type: str
      returned: always
      sample: 3d9c8f5b6a1e
    not_after:
      description: End of its validity (ISO 8601, UTC).
      type: str
      returned: always
      sample: "2027-01-31T23:59:59Z"
    days_left:
      description: Whole days until then; negative for one that has expired.
      type: int
      returned: always
      sample: 364
    ca:
      description: SHA-256 fingerprint of the CA that has issued it. Empty for one that is not here.
      type: str
      returned: always
      sample: 5f0c6d28f0bc83e1a7d2ac9a3a38cf8e0a3a2d53e0e8b1c5a2e7d3f4b6a79c01
    trusted:
      description: Whether members accept it now.
      type: bool
      returned: always
      sample: true
    dropped:
      description: Whether it was dropped.
      type: bool
      returned: always
      sample: false
    state:
      description: What was done with it, or is to be known of it.
      type: str
      returned: always
      sample: "issued: missing"
lines:
  description: The same as a table, and what people have to know.
  returned: success
  type: list
  elements: str
  sample: []
diff:
  description: What changed, before and after, as text.
  returned: when something changed
  type: dict
  sample: {}
requests:
  description: API requests made, as every module of this collection counts them. Always 0 here.
  returned: success
  type: int
  sample: 0
"""
