# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What members show in a TLS handshake, and how they come to show what was just written into their Secrets.

A member listens on its host's address, which the controller may not reach and where no port-forward leads. So the bytes go through a short-lived
pod on the host's network, and TLS is spoken here, with the member's own certificate: its log has no failed handshake of ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from .._plan.run import Script
from .._plan.serving import ACCEPTED, REFUSED, Card, Endpoint, Leaf, missing
from . import tls
from .client import KubeCluster, KubeError, in_parallel
from .exec import run_command, tunnel
from .kinds import POD
from .member import Member, rendered
from .run import Target, pod_on_node

# A pod's annotation: any change of its pod makes the kubelet look at its volumes at once, and not within a minute.
LOOK_ANNOTATION = "hostnet.multicluster/certificates-renewed"
# Of one handshake. The first one waits for a new connection through the API server too.
_HANDSHAKE_SECONDS = 20.0
# Between two tries of a reload. NATS does a good deal at each: it is asked as seldom as that still is quick.
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 8.0

Seen: TypeAlias = "dict[tuple[str, str], Leaf]"


@dataclass(frozen=True)
class Look:
    """How members are looked at: the pod that the bytes go through, `read`, which makes facts of a certificate (DER), and the seconds for each member.

    `cards`: clients' certificates that each port is shown too.
    """

    script: Script
    read: Callable[[bytes], Leaf]
    seconds: float
    cards: Sequence[Card] = ()

    def through(self, member: Member) -> Script:
        """A pod of its own for each member: several are looked at at once. Its name is a label's value, of at most 63 characters."""
        own = hashlib.sha256(f"{member.kube_cluster}/{member.member}".encode()).hexdigest()[:10]
        return replace(self.script, name=f"{self.script.name[:40]}-{own}")


def look(clusters: Mapping[str, KubeCluster], members: Sequence[Member], wanted: Sequence[Endpoint], how: Look) -> Seen:
    """What all `members` show, several of them at once. What cannot be asked says why in its `error`."""

    def one(member: Member) -> Seen:
        mine = [endpoint for endpoint in wanted if endpoint.member == member.member]
        if not mine:
            return {}
        cluster, deadline = clusters[member.kube_cluster], time.monotonic() + how.seconds
        try:
            with pod_on_node(cluster, Target(cluster.name, str(member.variables["node"])), how.through(member), deadline) as pod:
                return _shown(cluster, member, mine, pod, how, deadline)
        except KubeError as error:
            return {(endpoint.member, endpoint.port): Leaf(error=str(error), asked=False) for endpoint in mine}

    return {key: leaf for seen in in_parallel(one, list(members)) for key, leaf in seen.items()}


@dataclass
class Brought:
    """What a member shows in the end, and what its last reload has said where that is no success."""

    seen: Seen
    reload: str = ""


def bring(
    cluster: KubeCluster, member: Member, wanted: Sequence[Endpoint], reload: Sequence[str], how: Look, still_held: Callable[[], None]
) -> Brought:
    """Has the member come to show what it has to show, for as long as `how` says.

    `reload` is a command in its container; empty where the process reads its files at each handshake. `still_held` is called before each try. Raises
    KubeError where the pod cannot be asked at all, and where the lock is lost.
    """
    mine = [endpoint for endpoint in wanted if endpoint.member == member.member]
    deadline = time.monotonic() + how.seconds
    pause, tries, brought = _FIRST_PAUSE, 0, Brought({})
    with pod_on_node(cluster, Target(cluster.name, str(member.variables["node"])), how.through(member), deadline) as pod:
        while True:
            tries += 1
            still_held()
            _have_looked(cluster, member, f"{mine[0].serial}-{tries}")
            if reload:
                # Also before the files are there: what counts is what it shows afterwards. It may run more than once, so a lost connection is no end.
                done = run_command(cluster, member.namespace, member.pod, member.container, rendered(member, reload), deadline, safe=True)
                brought.reload = "" if done["rc"] == 0 else done["error"] or f"exit code {done['rc']}: {done['stderr'].strip()[-300:]}"
            brought.seen = _shown(cluster, member, mine, pod, how, deadline)
            if not missing(mine, brought.seen, how.cards) or time.monotonic() + pause >= deadline:
                return brought
            time.sleep(pause)
            pause = min(pause * 2, _LAST_PAUSE)


def _have_looked(cluster: KubeCluster, member: Member, value: str) -> None:
    """Have the kubelet look at the pod's volumes now. Whoever may not change pods waits for a minute longer."""
    try:
        cluster.merge_patch(POD, member.pod, {"metadata": {"annotations": {LOOK_ANNOTATION: value}}}, member.namespace)
    except KubeError as error:
        if error.status != 403:
            raise


def _shown(cluster: KubeCluster, member: Member, endpoints: Sequence[Endpoint], pod: str, how: Look, deadline: float) -> Seen:
    seen = {}
    for endpoint in endpoints:
        leaf = _handshake(cluster, member, endpoint, pod, how, deadline)
        if not leaf.error:
            said = tuple((card.ca, _card(cluster, member, endpoint, pod, how, deadline, card)) for card in how.cards)
            leaf = replace(leaf, cards=said)
        seen[(endpoint.member, endpoint.port)] = leaf
    return seen


def _handshake(cluster: KubeCluster, member: Member, endpoint: Endpoint, pod: str, how: Look, deadline: float) -> Leaf:
    variables = member.all_variables()
    files = tls.Files(str(variables["ca"]), f"{variables['pki']}/{endpoint.file}.crt", f"{variables['pki']}/{endpoint.file}.key")
    opened = False
    try:
        with _connection(cluster, member, endpoint, pod, how, deadline) as stream:
            opened = True
            if endpoint.greets:
                _greeting(stream)
            return how.read(tls.Tls(stream, files.looking(), str(variables["address"])).certificate())
    except tls.TlsError as error:
        return Leaf(error=str(error))
    except KubeError as error:
        # A refused connection and silence are the member's. An exec that is forbidden, and an image without nc, are not.
        return Leaf(error=str(error), asked=opened and ("exit code 1:" in error.detail or error.status == 504))


def _card(cluster: KubeCluster, member: Member, endpoint: Endpoint, pod: str, how: Look, deadline: float, card: Card) -> str:
    """What the port says of this client's certificate."""
    variables = member.all_variables()
    files = tls.Files(str(variables["ca"]), card.certificate, card.private_key)
    try:
        with _connection(cluster, member, endpoint, pod, how, deadline) as stream:
            if endpoint.greets:
                _greeting(stream)
            tls.Tls(stream, files.asking(), str(variables["address"]))
    except tls.TlsRefused:
        return REFUSED
    except (tls.TlsError, KubeError) as error:
        return str(error)
    return ACCEPTED


def _connection(
    cluster: KubeCluster, member: Member, endpoint: Endpoint, pod: str, how: Look, deadline: float
) -> contextlib.AbstractContextManager[tls.Stream]:
    until = min(deadline, time.monotonic() + _HANDSHAKE_SECONDS)
    address = str(member.all_variables()["address"])
    return tunnel(cluster, how.script.namespace, pod, "run", ["nc", address, str(endpoint.number)], until)


def _greeting(stream: tls.Stream) -> None:
    """The line that the server says first. TLS begins after it, and not before the client does."""
    said = b""
    while not said.endswith(b"\r\n"):
        more = stream.receive()
        if not more:
            raise tls.TlsClosed("the server closed the connection before it said anything")
        said += more
