#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The work is done by the action plugin of the same name: pki folder, CA key and vault secrets are on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_certificates
short_description: A CA on the controller and one certificate per host IP
version_added: "0.1.0"
description:
  - Makes a folder on the controller hold a CA, or uses a CA that you bring, and issues any number of server and client
    certificates from it, in one process.
  - Nothing is issued anew without a reason, and the reason is returned and shown with C(--diff). A certificate is issued
    anew if it or its key is missing or unreadable, if the key does not match, if its subject alternative names, common
    name, organization, usages or key type differ from the wanted ones, if another CA issued it, if it is not valid yet,
    and if fewer than O(renew_days) days are left.
  - Every certificate that is issued anew gets a fresh private key; keys are never kept across certificates.
  - A certificate begins 24 hours before it is issued, because the clocks of controller and nodes differ, and never
    outlives its CA.
  - Everything is checked before anything is written. Files are written beside their places and moved there when all of
    them are on the disk, and a lock (C(.lock) in O(pki_dir)) keeps two runs from making two CAs.
  - Private keys that others than the owner can read are given the mode C(0600) again.
  - A folder that others may write into is closed to them, or refused if it is not only this user's.
  - No private key appears in a result, a diff or a log.
options:
  pki_dir:
    description:
      - Folder on the controller. It is created with the mode C(0700) if it does not exist.
      - A relative path starts at the playbook's folder.
      - It gets C(ca.crt), C(ca.key), and C(NAME/FILE.crt) and C(NAME/FILE.key) for each of the O(certificates).
    type: path
    required: true
  ca:
    description:
      - The CA. It is made once, and never changed or renewed by this module.
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
          - Keep C(ca.key) encrypted with C(ansible-vault), with the secret that this run was given.
          - With V(true) a C(ca.key) in O(pki_dir) that is not encrypted yet is encrypted. One that is encrypted stays so,
            whatever this option says.
          - By default the key of a CA that is made is encrypted if this run was given a vault secret, that of an O(new_ca) if
            C(ca.key) is. A key that is there stays as it is, with a warning if it could be encrypted - other runs may have no
            secret. Before version 0.4.0 the default was V(false).
        type: bool
      certificate:
        description:
          - PEM file with the certificate of a CA of your own, by default C(ca.crt) in O(pki_dir).
          - If it holds several certificates, the first one is the CA that issues.
          - A path other than the default must exist; no CA is made there.
        type: path
      private_key:
        description:
          - PEM file with the private key of the CA, plain or encrypted with C(ansible-vault), by default C(ca.key) in
            O(pki_dir).
          - The file may be absent as long as nothing has to be issued. Where it is present it is always checked.
        type: path
      old_certificate:
        description:
          - PEM file with the certificate of a CA of your own that is being exchanged for O(ca.certificate).
        type: path
        version_added: "0.4.0"
      old_private_key:
        description:
          - PEM file with its private key, by default C(ca.key) in O(pki_dir).
        type: path
        version_added: "0.4.0"
  ca_create:
    description:
      - Whether to make a CA if there is none. Set it to V(false) as soon as members rely on the CA; a missing CA is then
        an error that says what to restore.
    type: bool
    default: true
  expected_ca_fingerprint:
    description:
      - SHA-256 fingerprint of the CA certificate that members rely on, with or without colons. Any other CA, and a missing
        one, is then an error. Empty for no check.
    type: str
    default: ""
  trusted_ca_fingerprints:
    description:
      - SHA-256 fingerprints of all CAs that members trust, the older one first, where it is another than O(expected_ca_fingerprint) alone, or was once.
        C(ca.crt) in O(pki_dir) is then the file with their certificates, that of O(expected_ca_fingerprint) first, which issues.
      - Each of them is kept in a file C(ca-DIGITS.crt) too, with the first 16 digits of its fingerprint. A CA that O(new_ca) has made has its key beside it.
        CAs are found by their fingerprint, in these files, in C(ca.crt) and in those that O(ca) names.
    type: list
    elements: str
    default: []
    version_added: "0.4.0"
  retired_ca_fingerprints:
    description:
      - SHA-256 fingerprints of CAs whose keys are put aside as C(ca-DIGITS.retired.key). One outside of O(pki_dir) is left alone.
    type: list
    elements: str
    default: []
    version_added: "0.4.0"
  new_ca:
    description:
      - Make a further CA, with the settings of O(ca) and today's date in its common name, as C(ca-DIGITS.crt) and C(ca-DIGITS.key) in O(pki_dir). One
        that is there already, and in neither O(expected_ca_fingerprint), O(trusted_ca_fingerprints) nor O(retired_ca_fingerprints), is taken instead.
      - Its key is encrypted where O(ca.vault) is set, and where C(ca.key) is encrypted.
    type: bool
    default: false
    version_added: "0.4.0"
  key_type:
    description:
      - Type of the certificates' keys. A thousand EC keys take less than a second, a thousand RSA keys many minutes.
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
      - Issue a certificate anew when fewer days than this are left. Must be smaller than O(valid_days).
      - By default a third of O(valid_days). Before version 0.4.0 it was 30.
    type: int
  renew:
    description:
      - Certificates that are issued anew although nothing is wrong with them - V(all), the name of a folder (V(east-0)), or folder and file
        (V(east-0/peer)). A name that none of O(certificates) has is an error.
    type: list
    elements: str
    default: []
    version_added: "0.4.0"
  organization:
    description:
      - Organization in the subject of the certificates and of a CA that is made. CockroachDB's own tools write C(Cockroach).
    type: str
    default: ""
  certificates:
    description:
      - The wanted certificates. Others in O(pki_dir) are left alone.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Folder below O(pki_dir), for instance the member's name.
        type: str
        required: true
      file:
        description:
          - File name without extension, for instance V(node), V(peer) or V(client.root).
        type: str
        required: true
      common_name:
        description:
          - Common name of the subject, at most 64 characters.
        type: str
        required: true
      usages:
        description:
          - What the certificate may be used for.
          - A V(server) certificate needs at least one of O(certificates[].ip_addresses), O(certificates[].dns_names) and
            O(certificates[].uris).
        type: list
        elements: str
        choices: [server, client]
        default: [server, client]
      ip_addresses:
        description:
          - IPv4 and IPv6 addresses, which become IP subject alternative names.
        type: list
        elements: str
        default: []
      dns_names:
        description:
          - DNS subject alternative names. The first label may be V(*).
        type: list
        elements: str
        default: []
      uris:
        description:
          - URI subject alternative names.
        type: list
        elements: str
        default: []
      ca_name:
        description:
          - The CA that issues this certificate. V(ca) is the one that O(ca) describes.
          - Any other name is a further CA, C(CA_NAME.crt) and C(CA_NAME.key) in O(pki_dir), made with the settings of
            O(ca) and the common name followed by this name. O(expected_ca_fingerprint) does not concern it.
        type: str
        default: ca
      ca_fingerprint:
        description:
          - SHA-256 fingerprint of the CA that issues this certificate, instead of O(certificates[].ca_name). If that CA ends before O(valid_days) are
            over, so does the certificate.
          - Of a CA that is not trusted any more, and of the older one of O(trusted_ca_fingerprints) where it no longer issues, a certificate that can be shown
            stays as it is. Where there is none, and neither such a CA nor its key can issue one, it is left out of RV(certificates).
        type: str
        default: ""
        version_added: "0.4.0"
      files:
        description:
          - Files of a folder C(NAME/FILE) that is handed to whoever the certificate is for, by name. In their texts C({ca}) stands for the certificates of
            all CAs that members trust, C({certificate}) for the certificate and C({private_key}) for its key, all as PEM. A file with the key has the mode
            C(0600).
          - Only a folder that exists is kept up to date. M(hostnet.multicluster.client_certificates) makes it.
        type: dict
        default: {}
        version_added: "0.4.0"
  shown_trust:
    description:
      - A trust revision. A client's certificate of each of its CAs is issued too, C(trust/) in O(pki_dir), to be shown to members, RV(shown).
    type: dict
    version_added: "0.4.0"
    suboptions:
      revision:
        description: Its number.
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
  nkeys:
    description:
      - Names of keys of NATS users, V(system) for instance. C(NAME.nk) in O(pki_dir) holds the seed, with the mode C(0600); it is made where it
        does not exist, and never changed. Only the public key is returned, which is no secret.
    type: list
    elements: str
    default: []
    version_added: "0.2.0"
  known_nkeys:
    description:
      - Public keys that the configuration of running servers names. Where it names one, a seed of O(nkeys) that does not exist was lost, and no other one is
        made.
    type: list
    elements: str
    default: []
    version_added: "0.4.0"
  members:
    description:
      - Bindings of members. They and the clients have to have the certificates that O(spec) says, in front of O(certificates).
    type: list
    elements: dict
    version_added: "0.4.0"
  hostnet:
    description:
      - The settings of the deployment, for O(members).
    type: dict
    version_added: "0.4.0"
  spec:
    description:
      - The spec of its system, for O(members); docs/systems.md describes it.
    type: dict
    version_added: "0.4.0"
requirements:
  - cryptography >= 41 (on the controller)
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters.ignored
  - hostnet.multicluster.attributes.on_controller
attributes:
  check_mode:
    description: Can run in check mode and return the changed status and the diff without changing anything.
    support: full
    details:
      - A certificate that would be issued has an empty serial and fingerprint.
  diff_mode:
    description: Returns what changed, or in check mode would change, when run with C(--diff).
    support: full
    details:
      - Subjects, names, dates and reasons; never key material.
  idempotent:
    description: A second run with the same input and no change in between changes nothing.
    support: full
    details:
      - Until fewer than O(renew_days) days are left.
  action_group:
    description: Use C(group/hostnet.multicluster.hostnet) in C(module_defaults) to give options to all modules of the group.
    support: full
    membership:
      - hostnet.multicluster.hostnet
  bypass_host_loop:
    details:
      - Use C(run_once), and give the certificates of all hosts in one call.
  vault:
    description: Can automatically decrypt Ansible vaulted files.
    support: full
    details:
      - Only the private key of the CA may be a vaulted file.
  platform:
    description: Target OS/families that can be operated against.
    support: full
    platforms: posix
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
"""

EXAMPLES = r"""
- name: A CA and the certificates of a CockroachDB with two members
  hostnet.multicluster.host_certificates:
    pki_dir: pki
    organization: Cockroach
    certificates:
      - name: east-0
        file: node
        common_name: node
        ip_addresses: [10.0.0.1, 127.0.0.1]
        dns_names: [localhost, east-worker]
      - name: west-0
        file: node
        common_name: node
        ip_addresses: ["fd00:0:0:1::7", "::1"]
        dns_names: [localhost, west-worker]
      - name: client
        file: client.root
        common_name: root
        usages: [client]
        dns_names: [root]
  run_once: true
  register: certificates

- name: Say what was issued, and why
  ansible.builtin.debug:
    msg: "{{ item.name }}/{{ item.file }}: {{ item.reason }}"
  loop: "{{ certificates.certificates | selectattr('reissued') }}"
  loop_control:
    label: "{{ item.name }}"

- name: Later runs insist on the CA that the members know
  hostnet.multicluster.host_certificates:
    pki_dir: pki
    organization: Cockroach
    ca_create: false
    expected_ca_fingerprint: "{{ certificates.ca.fingerprint }}"
    certificates:
      - name: east-0
        file: node
        common_name: node
        ip_addresses: [10.0.0.1, 127.0.0.1]
        dns_names: [localhost, east-worker]
  run_once: true

- name: A CA whose key is encrypted with the vault password of this run
  hostnet.multicluster.host_certificates:
    pki_dir: pki-vaulted
    ca:
      common_name: etcd of the shop
      vault: true
    certificates:
      - name: east-0
        file: peer
        common_name: east-0
        ip_addresses: [10.0.0.1]
  run_once: true

- name: Certificates for a year of RSA keys from the company's CA
  hostnet.multicluster.host_certificates:
    pki_dir: pki-company
    key_type: RSA_2048
    ca:
      certificate: company/issuing-ca.pem
      private_key: company/issuing-ca-key.pem
    certificates:
      - name: east-0
        file: server
        common_name: east-0
        usages: [server]
        ip_addresses: [10.0.0.1]
  run_once: true
"""

RETURN = r"""
noted:
  description: By C(name), what a rollout's journal says of its certificates - nothing secret.
  returned: success
  type: dict
ca:
  description: The CA named C(ca).
  returned: success
  type: dict
  contains:
    fingerprint:
      description: SHA-256 of the certificate (DER), lower case, without colons. Empty in check mode for a CA that would be made.
      type: str
      returned: always
      sample: 5f0c6d28f0bc83e1a7d2ac9a3a38cf8e0a3a2d53e0e8b1c5a2e7d3f4b6a79c01
    not_before:
      description: Begin of its validity (ISO 8601, UTC).
      type: str
      returned: always
      sample: "2026-01-31T22:59:59Z"
    not_after:
      description: End of its validity (ISO 8601, UTC).
      type: str
      returned: always
      sample: "2036-01-29T23:59:59Z"
    common_name:
      description: Common name of its subject.
      type: str
      returned: always
      sample: hostnet CA
    created:
      description: Whether this run made it.
      type: bool
      returned: always
      sample: true
    certificate:
      description: Path of its certificate on the controller.
      type: str
      returned: always
      sample: /srv/play/pki/ca.crt
    trusted:
      description: Path of the file on the controller with the certificates of all CAs that members trust.
      type: str
      returned: always
      sample: /srv/play/pki/ca.crt
cas:
  description:
    - All CAs that O(certificates[].ca_name) and O(certificates[].ca_fingerprint) name, and C(ca), by name; each has the keys of RV(ca). C(new) is that
      of O(new_ca).
  returned: success
  type: dict
  sample: {}
certificates:
  description: The certificates in the order of O(certificates), then those of O(shown_trust).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The folder.
      type: str
      returned: always
      sample: east-0
    file:
      description: The file name without extension.
      type: str
      returned: always
      sample: node
    certificate:
      description: Path of the certificate on the controller.
      type: str
      returned: always
      sample: /srv/play/pki/east-0/node.crt
    private_key:
      description: Path of the private key on the controller.
      type: str
      returned: always
      sample: /srv/play/pki/east-0/node.key
    folder:
      description: Folder with O(certificates[].files). Empty if there is none.
      type: str
      returned: always
      sample: ""
    serial:
      description: Serial number in lower-case hexadecimal digits. Empty in check mode if it would be issued.
      type: str
      returned: always
      sample: 3d9c8f5b6a1e
    fingerprint:
      description: SHA-256 of the certificate (DER), lower case, without colons. Empty in check mode if it would be issued.
      type: str
      returned: always
      sample: 0b1c2d28f0bc83e1a7d2ac9a3a38cf8e0a3a2d53e0e8b1c5a2e7d3f4b6a79c01
    not_before:
      description: Begin of its validity (ISO 8601, UTC).
      type: str
      returned: always
      sample: "2026-01-31T22:59:59Z"
    not_after:
      description: End of its validity (ISO 8601, UTC).
      type: str
      returned: always
      sample: "2027-01-31T23:59:59Z"
    sans:
      description: Its subject alternative names, addresses first.
      type: list
      elements: str
      returned: always
      sample: ["IP:10.0.0.1", "IP:127.0.0.1", "DNS:localhost"]
    reissued:
      description: Whether it was issued in this run, or would be in check mode.
      type: bool
      returned: always
      sample: true
    reason:
      description: Why it was issued. Empty if it was kept.
      type: str
      returned: always
      sample: "SANs differ (missing IP:10.0.0.1; extra IP:10.0.0.9)"
shown:
  description:
    - Which clients' certificates members have to accept, and which they must not, by O(shown_trust), as M(hostnet.multicluster.certificates_served) takes
      them in O(hostnet.multicluster.certificates_served#module:trust). Empty without it.
  returned: success
  type: list
  elements: dict
  sample: []
nkeys:
  description: The public keys of O(nkeys), by name. Empty in check mode for one that would be made.
  returned: success
  type: dict
  sample: {system: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4}
behind:
  description: Those of O(members) that have another certificate in their Secret than these, or none, by what the fact C(hostnet_deployment) has seen.
  returned: success
  type: list
  elements: str
  version_added: "0.4.0"
requests:
  description: API requests made, as every module of this collection counts them. Always 0 here.
  returned: success
  type: int
  sample: 0
diff:
  description: The certificates that changed, before and after, as text.
  returned: when something changed
  type: dict
  sample: {}
"""
