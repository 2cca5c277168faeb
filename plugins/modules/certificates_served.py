#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: certificates_served
short_description: Brings issued certificates to running members one after another, and proves that they are served
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - A certificate that is in a Secret is not served yet - the kubelet has to bring it into the pod, and most processes have to be told to read it.
  - All O(members) are asked by a TLS handshake at each port that O(spec) names for a certificate (C(certificates[].ports)), and what they show is
    compared with what was O(issued).
  - Those that show another one, or whose Secret differs, have a turn, one after another in the order of O(members). The Secret is written, the
    kubelet is made to look at once (by an annotation of the pod), the process is told to read its files (C(reload) of O(spec)), and the next turn
    begins when a handshake at each port shows the new certificate. No process is restarted.
  - The first member that does not show it until O(timeout) ends the module as failed. Nothing was done then to those whose turn had not come. Those
    who showed nothing at all to begin with come last, and together - members of a system that is down may wait for each other.
  - A member that could not be asked at all, because the pod that the handshake goes through does not run there, keeps what it has and is named in the failure.
  - A run that was killed leaves nothing to tidy up. The next one sees who still shows an old certificate.
  - The handshakes go through a short-lived pod on the member's node, with the member's own certificate. TLS reaches from end to end.
  - O(members) are those that run. Their O(members[].variables) must have C(address), C(node), C(ca) (the CA's certificate on the controller) and C(pki) (the
    member's folder there).
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters
  - hostnet.multicluster.kube_clusters.lock
  - hostnet.multicluster.members
  - hostnet.multicluster.attributes
  - hostnet.multicluster.attributes.diff
  - hostnet.multicluster.attributes.action_group
attributes:
  check_mode:
    details:
      - Compares the Secrets, and names the members whose turn it would be. No member is asked, because that takes a pod.
  diff_mode:
    details:
      - The Secrets' fields that differ. Their data is shown as the first digits of its SHA-256.
options:
  state:
    description:
      - V(renewed) brings certificates to members. V(read) changes nothing, and asks what the members serve. What is stored comes from the fact
        C(hostnet_deployment) then, and RV(status) has both.
    type: str
    choices: [renewed, read]
    default: renewed
  spec:
    description:
      - The system's spec (docs/systems.md), of which C(certificates), C(ports) and C(reload) are read.
    type: dict
    required: true
  issued:
    description:
      - RV(hostnet.multicluster.host_certificates#module:certificates), what there is on the controller.
      - With O(hostnet) it comes from O(certificates).
    type: list
    elements: dict
    default: []
  hostnet:
    description:
      - The settings of the deployment. With it O(issued) and O(objects) are what the deployment has to have by O(certificates), O(identity), O(members),
        which are the bindings of all, and the fact C(hostnet_deployment).
    type: dict
    version_added: "0.4.0"
  identity:
    description:
      - The identity record, with O(hostnet).
    type: dict
    version_added: "0.4.0"
  certificates:
    description:
      - What M(hostnet.multicluster.host_certificates) has returned, with O(hostnet).
    type: dict
    version_added: "0.4.0"
  trust:
    description:
      - Clients' certificates that each port is shown too, and whether it has to accept them. A member has a turn as well where it does not do as it should,
        and its turn ends when it does. So this tells which CAs a process trusts by now.
      - With any of them each port is first shown one of a CA that was made for this call too. A port that accepts that is an error, before anything is written.
      - The handshake is one of TLS 1.2, in which a client learns what became of its certificate.
    type: list
    elements: dict
    default: []
    suboptions:
      ca:
        description:
          - SHA-256 fingerprint of the CA that has issued it.
        type: str
        required: true
      accepted:
        description:
          - Whether the members have to accept it. If not, they have to refuse it.
        type: bool
        required: true
      certificate:
        description:
          - PEM file on the controller.
        type: path
        required: true
      private_key:
        description:
          - PEM file with its key.
        type: path
        required: true
  objects:
    description:
      - The Secrets with these certificates, as M(hostnet.multicluster.manifests) takes them. Which members are in one is told by its annotation
        C(hostnet.multicluster/certificates). One with certificates of several members is written in the turn of the first of them.
      - Those of members that are not in O(members), because they do not run, are written last.
    type: list
    elements: dict
    default: []
    suboptions:
      kube_cluster:
        description:
          - Name of one of O(kube_clusters).
        type: str
        required: true
      definition:
        description:
          - The manifest.
        type: dict
        required: true
      files:
        description:
          - Its keys whose data is read from files of the controller, as a dictionary from key to path.
        type: dict
      create_only:
        description:
          - Create the object where it does not exist, and leave it alone where it does.
        type: bool
        default: false
  name:
    description:
      - First part of the names of the pods that the handshakes go through.
    type: str
    required: true
  image:
    description:
      - Image of those pods, with C(sh), C(sleep) and C(nc).
    type: str
    required: true
  pull_secrets:
    description:
      - Names of Secrets in the members' namespace that O(image) is pulled with.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - Seconds for each member's turn. A kubelet that is not made to look brings a file within about a minute and a half.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Bring the certificates to the members that run, and prove that they serve them
  hostnet.multicluster.certificates_served:
    kube_clusters: "{{ hostnet.kube_clusters }}"
    members: "{{ hostnet_targets }}"
    spec: "{{ hostnet_spec }}"
    issued: "{{ hostnet_certificates.certificates }}"
    objects: "{{ secrets }}"
    name: "{{ hostnet.name }}-tls"
    image: "{{ hostnet.probe_image }}"
"""

RETURN = r"""
served:
  description: What the members showed last, an entry for each port. Empty in check mode.
  returned: always
  type: list
  elements: dict
  contains:
    member:
      description: Name of the member.
      type: str
      sample: east-0
    file:
      description: Which of the spec's certificates belongs there.
      type: str
      sample: server
    port:
      description: Name of the port in the spec.
      type: str
      sample: client
    number:
      description: Its number.
      type: int
      sample: 2379
    serial:
      description: Serial number of what is served, in lower-case hexadecimal digits.
      type: str
      sample: 3d9c8f5b6a1e
    not_before:
      description: Begin of its validity (ISO 8601, UTC).
      type: str
      sample: "2026-01-31T22:59:59Z"
    not_after:
      description: End of its validity (ISO 8601, UTC).
      type: str
      sample: "2027-01-31T23:59:59Z"
    sans:
      description: Its subject alternative names.
      type: list
      elements: str
      sample: ["IP:10.0.0.1", "DNS:localhost"]
    current:
      description: Whether it is the one that was issued last.
      type: bool
      sample: true
    clients:
      description: What it said of the clients' certificates of O(trust), by the fingerprint of the CA - C(accepted), C(refused), or why that is not known.
      type: dict
      sample: {}
    error:
      description: Why nothing was seen. Empty where something was.
      type: str
      sample: ""
status:
  description: The fact C(hostnet_status) with what the members serve, C(served), beside what is stored.
  returned: success, with O(state=read) and O(hostnet), not in check mode
  type: dict
renewed:
  description: The members that had a turn, in its order.
  returned: always
  type: list
  elements: str
  sample: [east-0, west-0]
lines:
  description: RV(served) for people, a line for each port.
  returned: always
  type: list
  elements: str
  sample: ["east-0 client (2379): serial 3d9c8f5b6a1e, until 2027-01-31T23:59:59Z, renewed"]
objects:
  description: What became of each of O(objects) that was written, as M(hostnet.multicluster.manifests) returns it.
  returned: always
  type: list
  elements: dict
  sample: []
requests:
  description: API requests sent, over all kube clusters.
  returned: always
  type: int
  sample: 24
"""

from dataclasses import replace
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import apply, client, objects, serving
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.member import Member, members_argument
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki import library, read, stranger
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import manifests
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import serving as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.listed import some
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.run import waiting

ARGUMENTS: dict[str, Any] = {
    "kube_clusters": client.kube_clusters_argument(),
    "lock": client.lock_argument(),
    "members": members_argument(),
    "state": {"type": "str", "choices": ["renewed", "read"], "default": "renewed"},
    "spec": {"type": "dict", "required": True},
    "issued": {"type": "list", "elements": "dict", "default": []},
    "hostnet": {"type": "dict"},
    "identity": {"type": "dict"},
    "certificates": {"type": "dict"},
    "trust": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "ca": {"type": "str", "required": True},
            "accepted": {"type": "bool", "required": True},
            "certificate": {"type": "path", "required": True},
            # A path, and no key.
            "private_key": {"type": "path", "required": True, "no_log": False},
        },
    },
    "objects": {**objects.objects_argument(), "required": False, "default": []},
    "name": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    # Names of Secrets, not what is in them.
    "pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "timeout": {"type": "int", "default": 300},
}
# In messages.
_MOST = 5
_VARIABLES = ("address", "node", "ca", "pki")


def problem(params: dict[str, Any]) -> str:
    """What is wrong with the parameters, or `` when nothing is."""
    for option in ("members", "objects"):
        stray = _call.stray(params, option)
        if stray:
            return stray
    for index, member in enumerate(params["members"]):
        missing = [key for key in _VARIABLES if not member["variables"].get(key)]
        if missing:
            return f"members[{index}].variables has no {' and no '.join(missing)}"
    wrong = plan.spec_problems(params["spec"])
    if wrong:
        return f"spec: {'; '.join(wrong)}"
    if params["timeout"] < 1:
        return f"timeout is {params['timeout']}; give at least 1 second"
    return library.missing_library()


class _Work:
    """One call: what is wanted, what was seen, and what was done."""

    def __init__(self, call: _call.Call, wanted: list[plan.Endpoint], secrets: apply.InTurns) -> None:
        self.call, self.wanted, self.secrets = call, wanted, secrets
        self.seen: serving.Seen = {}
        self.renewed: list[str] = []
        self.touched = False
        self.silent: list[str] = []
        self.outcome = secrets.apply([])

    def result(self) -> dict[str, Any]:
        served = plan.served_list(self.wanted, self.seen) if self.seen else []
        result: dict[str, Any] = {
            "changed": self.outcome.changed or self.touched,
            "served": served,
            "renewed": self.renewed,
            "lines": [
                *plan.served_lines(served, self.renewed),
                *(
                    f"{member}: it does not run; its Secret has the new certificate, which nothing proves before it has started"
                    for member in self.silent
                ),
            ],
            "objects": self.outcome.objects,
        }
        if self.call.diff:
            result["diff"] = objects.ansible_diff(self.outcome.diff)
        return result

    def write(self, indices: list[int]) -> None:
        """Raises Failure where a Secret cannot be written."""
        self.outcome = self.secrets.apply(indices)
        if self.outcome.failures:
            raise _call.Failure(self.outcome.failure_text(), **self.result())


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    empty: dict[str, Any] = {"served": [], "renewed": [], "lines": [], "objects": []}
    wrong = problem(params)
    if wrong:
        objects.hide_secrets(params)
        raise _call.Failure(wrong, **empty)
    try:
        found = objects.read_objects(params, call.check_mode)
    except manifests.ManifestError as error:
        raise _call.Failure(str(error), **empty) from error
    finally:
        definitions = [entry["definition"] for entry in params["objects"]]
        objects.hide_secrets(params)
    members = [Member(**member) for member in params["members"]]
    order = [member.member for member in members]
    wanted = plan.endpoints(params["spec"], order, params["issued"])
    work = _Work(call, wanted, apply.InTurns(call.clusters, found, call.check_mode))
    changed = work.secrets.differs()
    if call.check_mode and params["state"] == "read":
        return work.result()
    if call.check_mode:
        turns = plan.turns(definitions, changed, [], order)
        work.write([index for _member, indices in turns for index in indices])
        work.renewed = [member for member, _indices in turns if member]
        return work.result()
    namespace = members[0].namespace if members else ""
    script = waiting(params["name"], namespace, params["image"], params["timeout"], params["pull_secrets"])
    how = serving.Look(script, read.shown_leaf, params["timeout"], [plan.Card(**entry) for entry in params["trust"]])
    _look(work, members, how)
    if params["state"] == "read":
        return work.result()
    work.silent = plan.unproven(definitions, changed, order)
    stale = [endpoint.member for endpoint in wanted if plan.missing([endpoint], work.seen, how.cards)]
    # Nothing would prove that these serve what they get: they keep what they have.
    unasked = {member: leaf.error for (member, _port), leaf in work.seen.items() if not leaf.asked}
    # Who showed nothing is broken already, and no reason to leave the others with what they have.
    broken = {member for (member, _port), leaf in work.seen.items() if leaf.error}
    by_name = {member.member: member for member in members}
    turns = plan.turns(definitions, changed, stale, sorted(order, key=lambda member: member in broken))
    well = [turn for turn in turns if turn[0] and turn[0] not in broken]
    for number, (name, indices) in enumerate(well):
        _turn(work, [by_name[name]], how, indices, [later for later, _indices in turns[number + 1 :] if later])
    # All at once: members that wait for each other show nothing before all of them have certificates that are good.
    rest = [turn for turn in turns[len(well) :] if turn[0] not in unasked]
    if rest:
        _turn(work, [by_name[name] for name, _indices in rest if name], how, [index for _name, indices in rest for index in indices], [])
    left_out = [name for name in order if name in unasked]
    if left_out:
        raise _call.Failure(
            f"left out, with the certificates that they have, because the way to them failed: "
            f"{some([f'member {name}: {unasked[name]}' for name in left_out], _MOST, '; ')}. Repair that, then run again",
            **work.result(),
        )
    return work.result()


def _look(work: _Work, members: list[Member], how: serving.Look) -> None:
    """Raises Failure where a port takes every client, and so nothing that it says of one is a proof."""
    if not how.cards:
        work.seen = serving.look(work.call.clusters, members, work.wanted, how)
        return
    with stranger.stranger() as nobody:
        seen = serving.look(work.call.clusters, members, work.wanted, replace(how, cards=[*how.cards, nobody]))
    careless = plan.careless(work.wanted, seen, nobody)
    work.seen = plan.without_card(seen, nobody)
    if careless:
        raise _call.Failure(
            f"{some(careless, _MOST, '; ')}: a client's certificate of a CA that nobody trusts is accepted. It verifies no clients, so nothing proves which "
            f"CAs the process trusts. Have it verify them, or take the port out of `ports` of the spec's certificates (docs/systems.md)",
            **work.result(),
        )


def _turn(work: _Work, members: list[Member], how: serving.Look, indices: list[int], later: list[str]) -> None:
    """Raises Failure where one of the members does not come to show what it has to."""
    params = work.call.params
    on_ports = {endpoint.member for endpoint in work.wanted}
    reload = [str(word) for word in params["spec"].get("reload") or []]

    def bring(member: Member) -> serving.Brought:
        return serving.bring(work.call.clusters[member.kube_cluster], member, work.wanted, reload, how, work.call.still_held)

    try:
        work.call.still_held()
        work.write(indices)
        work.renewed += [member.member for member in members]
        brought = client.in_parallel(bring, [member for member in members if member.member in on_ports])
    except client.KubeError as error:
        raise _call.Failure.of(error, **work.result()) from error
    for one in brought:
        work.seen.update(one.seen)
        work.touched = True
    names = [member.member for member in members]
    missing = plan.missing([endpoint for endpoint in work.wanted if endpoint.member in names], work.seen, how.cards)
    if missing:
        behind = next(member for member in members if f"member {member.member}," in missing[0])
        said = next((one.reload for one in brought if one.reload), "")
        left = f"; not begun: {', '.join(later)}" if later else ""
        raise _call.Failure(
            f"{'; '.join(missing)}, {params['timeout']} seconds after {'its Secret was' if len(members) == 1 else 'their Secrets were'} written"
            f"{f' (its reload ended with: {said})' if said else ''}. Look at the log of pod {behind.namespace}/{behind.pod} of kube cluster "
            f"{behind.kube_cluster}, then run again without hostnet_renew_certificates{left}",
            **work.result(),
        )


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
