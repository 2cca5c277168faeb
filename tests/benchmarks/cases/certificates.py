# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of all hosts: host_certificates beside the bare calls of the library that it uses, and beside community.crypto."""

from __future__ import annotations

import dataclasses
import shutil
from typing import Any

import yaml

from ..measure import inside, play
from ..table import Findings, Mark, Measured, Row
from .base import Bench, alternate, memory

CASE = "certificates"
OF_COMMUNITY_CRYPTO = 5
Json = dict[str, Any]


def wanted(count: int) -> list[Json]:
    """One certificate for each host."""
    return [
        {
            "name": f"host-{number}",
            "file": "server",
            "common_name": f"host-{number}",
            "usages": ["server", "client"],
            "ip_addresses": [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "127.0.0.1"],
            "dns_names": ["localhost", f"vm-{number}"],
            "uris": [],
            "ca_name": "ca",
        }
        for number in range(1, count + 1)
    ]


def run(bench: Bench) -> Findings:
    count = bench.world.nodes
    both = {"certificates": wanted(count)}
    bare = Row(CASE, f"certificates for {count} hosts", "bare calls of cryptography, and files", 1.5)
    each = Row(CASE, "for each host", f"community.crypto, {OF_COMMUNITY_CRYPTO} hosts, 3 tasks each")
    findings = Findings([bare, each])
    issued: list[int] = []

    def ours() -> Measured:
        measured, result = inside(None, "host_certificates", both)
        issued.append(result["issued"])
        return measured

    for number in range(bench.rounds):
        mine, other = alternate(number, ours, lambda: inside(None, "bare_certificates", both)[0])
        bare.ours.append(mine)
        bare.peer.append(other)
        each.ours.append(dataclasses.replace(mine, seconds=mine.seconds / count))
        each.peer.append(_community_crypto(bench))
        bench.say(f"{CASE}: round {number + 1} of {bench.rounds}")
    findings.notes = ["seconds are of the work alone, on both sides: without the start of Python and imports"]
    findings.marks = [Mark(CASE, "hosts that got no certificate", count - min(issued), 0), memory(CASE, findings)]
    return findings


def _community_crypto(bench: Bench) -> Measured:
    """Key, request and certificate for a few hosts, each a task in a loop: what the tasks took for each host."""
    folder = bench.world.folder / "community-crypto"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    names = "DNS:localhost,DNS:{{ item.common_name }},IP:{{ item.ip_addresses[0] }},IP:127.0.0.1"
    ca, host = f"{folder}/ca", f"{folder}/{{{{ item.name }}}}"
    tasks: list[Json] = [
        {"community.crypto.openssl_privatekey": {"path": f"{ca}.key", "type": "ECC", "curve": "secp256r1"}},
        {
            "community.crypto.openssl_csr": {
                "path": f"{ca}.csr",
                "privatekey_path": f"{ca}.key",
                "common_name": "CA",
                "basic_constraints": ["CA:TRUE"],
                "basic_constraints_critical": True,
            }
        },
        {
            "community.crypto.x509_certificate": {
                "path": f"{ca}.crt",
                "csr_path": f"{ca}.csr",
                "privatekey_path": f"{ca}.key",
                "provider": "selfsigned",
            }
        },
    ]
    of_hosts: list[Json] = [
        {"community.crypto.openssl_privatekey": {"path": f"{host}.key", "type": "ECC", "curve": "secp256r1"}},
        {
            "community.crypto.openssl_csr": {
                "path": f"{host}.csr",
                "privatekey_path": f"{host}.key",
                "common_name": "{{ item.common_name }}",
                "subject_alt_name": names,
            }
        },
        {
            "community.crypto.x509_certificate": {
                "path": f"{host}.crt",
                "csr_path": f"{host}.csr",
                "provider": "ownca",
                "ownca_path": f"{ca}.crt",
                "ownca_privatekey_path": f"{ca}.key",
            }
        },
    ]
    tasks += [{**task, "loop": wanted(OF_COMMUNITY_CRYPTO)} for task in of_hosts]
    playbook = bench.world.folder / "community-crypto.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    inventory = bench.world.folder / "localhost.yml"
    inventory.write_text(
        yaml.safe_dump(
            {
                "all": {
                    "hosts": {"localhost": {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}}
                }
            }
        )
    )
    measured, results = play(None, playbook, inventory, {})
    seconds = sum(result.seconds for result in results[-len(of_hosts) :])
    return dataclasses.replace(measured, seconds=seconds / OF_COMMUNITY_CRYPTO)
