# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Members whose VMs are replaced, one after another, on the running lab: whose seconds they were, and API requests for each member.

Usage: python tests/benchmarks/rollout.py [--system etcd] [--placement node_name] [--members 2] [--work replace] [--surge]

Own seconds are the wall time of a member less the VM's replacement, the stop and start of its process, catching up and soak, all
from the journal. The peer is the same VM without the play around it: the journal's own figure for the hook. Seconds depend on the
machine, so none is judged; the exit code is 1 where the rollout failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deploy import OURS, deploy

from support.collection import CHECKOUT, collections_path

sys.path.insert(0, str(collections_path()))
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import timeline


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--system", default="etcd")
    parser.add_argument("--placement", default="node_name")
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--work", default="replace", choices=["replace", "reboot"])
    parser.add_argument("--surge", action="store_true")
    options = parser.parse_args()
    name = "benchmark"
    variables = {"hostnet_system": options.system, "hostnet_placement": options.placement, "hostnet_name": name}
    with tempfile.TemporaryDirectory() as folder:
        deploy(variables)
        try:
            rolled = deploy(
                {
                    **variables,
                    "hostnet_work": options.work,
                    "hostnet_surge": str(options.surge).lower(),
                    "hostnet_max_members": str(options.members),
                    "hostnet_soak_seconds": "5",
                    "hostnet_replace_tasks": str(CHECKOUT / "molecule" / "lab" / "hooks" / "vm.yml"),
                    "hostnet_report_dir": folder,
                },
                "upgrade.yml",
            )
            journal = json.loads(next(Path(folder).glob("*.json")).read_text())
        finally:
            deploy({**variables, "hostnet_remove_name": name, "hostnet_remove_data": "true"}, "remove.yml")
    summary = timeline.summary(journal, name)
    print(f"{options.system}, {options.placement}, {options.work}{' with surge' if options.surge else ''}, {options.members} members")
    print(f"{'member':<12}{'all s':>8}{'own s':>8}{'vm s':>8}  seconds by step")
    for member in summary["members"]:
        steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in member["steps"].items())
        print(f"{member['member']:<12}{member['seconds']:>8.1f}{member['own']:>8.1f}{member['vm']:>8.1f}  {steps}")
    by_module: Counter[str] = Counter()
    for task in rolled.run.tasks:
        if task.action.startswith(OURS):
            by_module[task.action.removeprefix(OURS)] += int(str(task.result.get("requests", 0)))
    asked = by_module["member_inspect"] / options.members
    each = by_module.total() / options.members
    print(
        f"{each:.0f} API requests for each member: {asked:.0f} to ask members, which grow with their number, and {each - asked:.0f} other ones"
    )
    print(f"{rolled.seconds:.0f} s altogether")
    print("requests by module: " + ", ".join(f"{module} {count}" for module, count in by_module.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
