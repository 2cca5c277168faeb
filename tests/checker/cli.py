# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line, signals, and the table at the end."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import threading
import time
from pathlib import Path
from typing import Any

from . import verdict
from .kube import KubeCluster
from .run import Options, Run
from .system import System
from .system_etcd import Etcd

Json = dict[str, Any]

_EPILOG = """\
Prints READY when a write was acknowledged through every member, and runs until SIGTERM, SIGINT or --seconds. Then it reads everything back
from every member, writes the verdict as JSON and prints a table.

Exit code: 0 everything holds; 1 something is broken; 2 wrong usage; 3 invalid: less than --least-rate acknowledged writes a second over
the time outside of gaps (a gap: more than 250 ms without an acknowledgement), more than half of the time in gaps, or never READY.
"""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="checker", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("--system", required=True, choices=["cockroachdb", "etcd", "nats"])
    made.add_argument("--name", required=True, help="the deployment, as in the label hostnet.multicluster/deployment")
    made.add_argument("--namespace", help="default: hostnet-<name>")
    made.add_argument(
        "--kube-cluster",
        required=True,
        action="append",
        metavar="CONTEXT[=KUBECONFIG]",
        help="once for each kube cluster of the deployment",
    )
    made.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG", ""), help="for contexts without one of their own")
    made.add_argument(
        "--pki",
        required=True,
        type=Path,
        help="folder with ca.crt, and the client's clients/client.crt and .key (cockroachdb: clients/client.root.crt)",
    )
    made.add_argument("--port", type=int, help="the system's client port, where it is not the usual one")
    made.add_argument("--address-type", default="InternalIP", help="which of a Node's addresses members use (default: %(default)s)")
    made.add_argument("--rate", type=float, default=60, help="writes a second (default: %(default)s)")
    made.add_argument(
        "--least-rate",
        type=float,
        default=20,
        help="acknowledged writes a second that make a result valid: fewer than --rate, as a busy machine has; 0: any do (default: %(default)s)",
    )
    made.add_argument("--members", type=int, default=0, help="members that have to answer (default: as many as there are at the start)")
    made.add_argument("--max-down", type=int, default=1, help="members that may be down at once (default: %(default)s)")
    made.add_argument("--connections", type=int, default=2, help="to each member (default: %(default)s)")
    made.add_argument("--timeout", type=float, default=2.0, help="seconds until a write counts as unknown (default: %(default)s)")
    made.add_argument("--ready-seconds", type=float, default=120, help="how long to wait for READY (default: %(default)s)")
    made.add_argument(
        "--read-seconds",
        type=float,
        default=120,
        help="at the end, how long to wait for a member that does not answer (default: %(default)s)",
    )
    made.add_argument("--seconds", type=float, default=0, help="length of the run, counted from READY (default: until a signal)")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--run", default="", help="name of this run, in all of its keys (default: a new one)")
    made.add_argument("--folder", type=Path, default=Path(), help="for acknowledged-<run>.log and verdict.json (default: here)")
    made.add_argument("--verdict", type=Path, help="file for the verdict (default: verdict.json in --folder)")
    made.add_argument("--probe-file", type=Path, help="gets a line of JSON for each gap of more than 250 ms: time, gap_ms")
    made.add_argument("--keep", action="store_true", help="leave the values in the system (they stay in any case where something is wrong)")
    return made


def system(arguments: argparse.Namespace, run: str) -> System:
    if arguments.system == "etcd":
        return Etcd(run, arguments.pki, arguments.port, arguments.timeout)
    if arguments.system == "cockroachdb":
        from .system_cockroachdb import Cockroachdb  # each needs a library that the others do not

        return Cockroachdb(run, arguments.pki, arguments.port, arguments.timeout, most_down=arguments.max_down)
    from .system_nats import Nats

    return Nats(run, arguments.pki, arguments.port, arguments.timeout, most_down=arguments.max_down)


def table(document: Json) -> str:
    writes, down, found = document["writes"], document["down"], document["gaps"]
    rows = [
        ("result", document["result"].upper()),
        ("writes acknowledged", f"{writes['acknowledged']} of {writes['attempted']}, {writes['unknown']} with unknown outcome"),
        (
            "writes a second",
            f"{writes.get('rate_outside_gaps', 0)} outside of gaps, {writes.get('rate', 0)} over all; {writes['least_rate']:g} needed",
        ),
        ("lost", str(document["lost"])),
        ("read back from", f"{document['members']['read']} of {document['members']['expected']} members"),
        ("cluster ids", f"{len(document['cluster_ids'])} ({', '.join(document['cluster_ids']) or 'none'})"),
        ("down at once", f"{down['most_at_once']} at most, {down['allowed']} allowed, {len(down['times'])} times"),
        (
            "longest gap",
            f"{found['longest_ms']} ms at {found['longest_at'] or '-'} (the checker itself was late by {found['late_ms_of_the_checker']} ms)",
        ),
        ("join lists", f"{len(document['join']['faults'])} faults"),
        *(
            (name, f"{most} at most, {document['figures']['at_end'].get(name)} at the end")
            for name, most in document["figures"]["most"].items()
        ),
    ]
    width = max(len(name) for name, _text in rows)
    return "\n".join([*(f"{name.ljust(width)}  {text}" for name, text in rows), *(f"* {reason}" for reason in document["reasons"])])


def main(words: list[str]) -> int:
    made = parser()
    arguments = made.parse_args(words)
    if arguments.rate <= 0 or arguments.connections < 1 or arguments.timeout <= 0:
        made.error("--rate, --connections and --timeout are positive")
    run = arguments.run or f"{int(time.time()):x}-{secrets.token_hex(2)}"
    try:
        chosen = system(arguments, run)
        clusters = []
        for entry in arguments.kube_cluster:
            name, _equals, kubeconfig = entry.partition("=")
            namespace = arguments.namespace or f"hostnet-{arguments.name}"
            clusters.append(KubeCluster(name, kubeconfig or arguments.kubeconfig, arguments.name, namespace, arguments.address_type))
        arguments.folder.mkdir(parents=True, exist_ok=True)
    except Exception as error:
        made.error(f"{type(error).__name__}: {error}")
    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    options = Options(
        rate=arguments.rate,
        least_rate=arguments.least_rate,
        members=arguments.members,
        most_down=arguments.max_down,
        seed=arguments.seed,
        connections=arguments.connections,
        ready_seconds=arguments.ready_seconds,
        read_seconds=arguments.read_seconds,
        keep=arguments.keep,
        ledger=arguments.folder / f"acknowledged-{run}.log",
        probe_file=arguments.probe_file,
    )
    document = Run(chosen, clusters, options, lambda text: print(text, flush=True)).work(arguments.seconds, asked_to_stop)
    chosen.stop()
    document = {"system": arguments.system, "name": arguments.name, **document}
    path = arguments.verdict or arguments.folder / "verdict.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(table(document), flush=True)
    return verdict.EXIT_CODES[document["result"]]
