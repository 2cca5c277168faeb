# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A first deploy and a second one on the running lab: seconds, calls of modules and API requests of each.

Usage: python tests/benchmarks/deploy.py [--system etcd] [--placement node_name]

The peer of the second run is kubectl, which applies the same objects (server side, as a dry run) to both kube clusters in
the same minute. Seconds depend on the machine, so none is judged. The exit code is 1 where a deploy failed or the second one
changed something.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.collection import CHECKOUT
from support.kube_api import binary
from support.lab import Lab
from support.run import PlayRun, run_playbook

INVENTORY = CHECKOUT / "inventories" / "lab"
OURS = "hostnet.multicluster."
KINDS = "configmaps,secrets,statefulsets,daemonsets,poddisruptionbudgets"


@dataclass(frozen=True)
class Measured:
    seconds: float
    run: PlayRun

    @property
    def modules(self) -> list[dict[str, object]]:
        """Results of tasks that may talk to kube clusters; host_certificates never does."""
        return [
            task.result
            for task in self.run.tasks
            if task.action.startswith(OURS) and not task.action.endswith("host_certificates") and task.outcome != "skipped"
        ]

    @property
    def requests(self) -> int:
        return sum(int(str(result.get("requests", 0))) for result in self.modules)


def deploy(variables: dict[str, str], playbook: str = "deploy.yml") -> Measured:
    begun = time.monotonic()
    run = run_playbook(playbook, INVENTORY, variables=variables)
    seconds = time.monotonic() - begun
    if run.rc:
        sys.exit(run.output)
    return Measured(seconds, run)


def kubectl_again(lab: Lab, namespace: str) -> float:
    """Seconds that kubectl takes to find that nothing differs, in one kube cluster after the other."""
    kubectl = str(binary("kubectl"))
    manifests = []
    for kube in ("east", "west"):
        command = [kubectl, "--kubeconfig", lab.admin_kubeconfig, "--context", kube, "-n", namespace]
        manifests.append((command, subprocess.run([*command, "get", KINDS, "-o", "yaml"], check=True, stdout=subprocess.PIPE).stdout))
    begun = time.monotonic()
    for command, text in manifests:
        dry = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"]
        subprocess.run([*command, *dry], input=text, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--system", default="etcd")
    parser.add_argument("--placement", default="node_name")
    options = parser.parse_args()
    name = "benchmark"
    variables = {"hostnet_system": options.system, "hostnet_placement": options.placement, "hostnet_name": name}
    lab = Lab()
    try:
        first, second = deploy(variables), deploy(variables)
        peer = kubectl_again(lab, f"hostnet-{name}")
    finally:
        deploy({**variables, "hostnet_remove_name": name, "hostnet_remove_data": "true"}, "remove.yml")
    members = len(lab.workers())
    print(f"{options.system}, {options.placement}, {members} members in 2 kube clusters")
    print(f"{'':<14}{'seconds':>9}{'modules':>9}{'requests':>10}{'tasks':>7}")
    for title, measured in (("first deploy", first), ("second deploy", second)):
        print(f"{title:<14}{measured.seconds:>9.1f}{len(measured.modules):>9}{measured.requests:>10}{len(measured.run.tasks):>7}")
    print(f"kubectl, only to apply the same objects again: {peer:.1f} s; ratio {second.seconds / peer:.1f}")
    if second.run.changed:
        print("the second deploy changed something")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
