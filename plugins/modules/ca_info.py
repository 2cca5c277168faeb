#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The work is done by the action plugin of the same name: inventories, pki folder and vault secrets are on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ca_info
short_description: Where the CA of a deployment is, and which one it is
version_added: "0.3.0"
description:
  - Says in which folder on the controller a deployment has its CA, whether certificate and key are there and belong together, and whether
    an older version left a CA in a place that does not last. Changes nothing.
  - What stands in the way is returned in RV(problem) and is no failure, because a playbook that only looks on needs no CA.
options:
  name:
    description:
      - Name of the deployment.
    type: str
    required: true
  pki_dir:
    description:
      - The folder, an absolute path outside of every collection.
      - If empty, it is C(.hostnet-pki/NAME) in the folder of the inventory, or C(pki/NAME) there where version 0.2.0 made that one. There is no such
        place, and RV(problem) says so, where the run has no inventory file, inventories in several folders, or one in a collection, in a
        container's own file system, in a job of AWX or in a temporary folder.
    type: path
    default: ""
  ca:
    description:
      - The CA, as in M(hostnet.multicluster.host_certificates).
    type: dict
    suboptions:
      common_name:
        description:
          - Common name of a CA that is made.
        type: str
        default: hostnet CA
      key_type:
        description:
          - Type of the key of a CA that is made. A CA of your own may have any RSA, EC, Ed25519 or Ed448 key.
        type: str
        choices: [EC_P256, RSA_2048, RSA_4096]
        default: EC_P256
      valid_days:
        description:
          - Days after which a CA that is made expires.
        type: int
        default: 3650
      vault:
        description:
          - The key of a CA that is made is encrypted with C(ansible-vault), so this run needs a vault secret. By default it is
            if this run was given one.
        type: bool
      certificate:
        description:
          - PEM file with the certificate of a CA of your own, by default C(ca.crt) in the folder.
          - If it holds several certificates, the first one is the CA that issues.
        type: path
      private_key:
        description:
          - PEM file with the private key of the CA, plain or encrypted with C(ansible-vault), by default C(ca.key) in
            the folder.
        type: path
      old_certificate:
        description:
          - PEM file with the certificate of a CA of your own that is being exchanged for O(ca.certificate).
        type: path
        version_added: "0.4.0"
      old_private_key:
        description:
          - PEM file with its private key, by default C(ca.key) in the folder.
        type: path
        version_added: "0.4.0"
requirements:
  - cryptography >= 41 (on the controller)
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters.ignored
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.on_controller
attributes:
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
  action_group:
    description: Use C(group/hostnet.multicluster.hostnet) in C(module_defaults) to give options to all modules of the group.
    support: full
    membership:
      - hostnet.multicluster.hostnet
  bypass_host_loop:
    details:
      - Use C(run_once), and give the certificates of all hosts in one call.
seealso:
  - module: hostnet.multicluster.host_certificates
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
"""

EXAMPLES = r"""
- name: Find the CA of a deployment
  hostnet.multicluster.ca_info:
    name: ledger
    pki_dir: "{{ hostnet_pki_dir | default('') }}"
  register: authority

- name: Stop where it cannot be used
  ansible.builtin.assert:
    that: not authority.problem
    fail_msg: "{{ authority.problem }}"
"""

RETURN = r"""
path:
  description: The folder; empty where there is no place that lasts.
  returned: success
  type: str
  sample: /srv/ops/inventories/prod/.hostnet-pki/ledger
problem:
  description: Why there is no place, or why the CA that is there cannot issue; empty if neither.
  returned: success
  type: str
  sample: ""
certificate:
  description: Path of the CA's certificate, whether or not it exists.
  returned: success
  type: str
  sample: /srv/ops/inventories/prod/.hostnet-pki/ledger/ca.crt
private_key:
  description: Path of the CA's private key, whether or not it exists.
  returned: success
  type: str
  sample: /srv/ops/inventories/prod/.hostnet-pki/ledger/ca.key
fingerprint:
  description: SHA-256 of the CA's certificate (DER), lower case, without colons. Empty where there is none.
  returned: success
  type: str
  sample: 5f0c6d28f0bc83e1a7d2ac9a3a38cf8e0a3a2d53e0e8b1c5a2e7d3f4b6a79c01
has_key:
  description: Whether the CA's private key is there.
  returned: success
  type: bool
  sample: true
authorities:
  description:
    - All CAs of which there is a certificate, in the folder and in the files that O(ca) names. There is more than one while CAs are exchanged, and
      after that.
  returned: success
  type: list
  elements: dict
  contains:
    fingerprint:
      description: SHA-256 of the certificate.
      type: str
      returned: always
      sample: 5f0c6d28f0bc83e1a7d2ac9a3a38cf8e0a3a2d53e0e8b1c5a2e7d3f4b6a79c01
    certificate:
      description: Path of the file that it is in.
      type: str
      returned: always
      sample: /srv/ops/inventories/prod/.hostnet-pki/ledger/ca.crt
    private_key:
      description: Path of its private key, whether or not it exists.
      type: str
      returned: always
      sample: /srv/ops/inventories/prod/.hostnet-pki/ledger/ca.key
    has_key:
      description: Whether the file with the key is there.
      type: bool
      returned: always
      sample: true
trusted:
  description: Path of the file with the certificates of all CAs that members trust.
  returned: success
  type: str
  sample: /srv/ops/inventories/prod/.hostnet-pki/ledger/ca.crt
clients:
  description: Clients with a certificate of one of RV(authorities) in the folder C(clients), by the names of their files. They are renewed until
    M(hostnet.multicluster.client_certificates) drops them.
  returned: success
  type: list
  elements: str
  sample: [alice, client]
left:
  description: CAs of this deployment's name that are in other places, where an older version left them.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The folder.
      type: str
      returned: always
      sample: /srv/ops/.ansible/collections/ansible_collections/hostnet/multicluster/playbooks/pki/ledger
    fingerprint:
      description: SHA-256 of its C(ca.crt), empty where that cannot be read.
      type: str
      returned: always
      sample: 5f0c6d28f0bc83e1a7d2ac9a3a38cf8e0a3a2d53e0e8b1c5a2e7d3f4b6a79c01
    has_key:
      description: Whether its C(ca.key) is there.
      type: bool
      returned: always
      sample: true
    new_exists:
      description: Whether RV(path) exists, so that the folder cannot simply be moved there.
      type: bool
      returned: always
      sample: false
"""
