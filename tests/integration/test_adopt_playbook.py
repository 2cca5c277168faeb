# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""adopt.yml from its first check to its last write, killed at each step, on real API servers whose kubelets and members are made up.

tests/rollout/test_disasters.py has real members.
"""

from __future__ import annotations

import importlib.util
import json
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from support.kube_api import KubeApi

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

Json = dict[str, Any]


def _deploy_lock() -> Any:
    """The made-up kubelets and members of the tests of the deploy's lock."""
    spec = importlib.util.spec_from_file_location("made_up_for_adopt", Path(__file__).with_name("test_deploy_lock.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


made_up = _deploy_lock()
NAME, NAMESPACE = made_up.NAME, made_up.NAMESPACE
world = made_up.world
# Each is the state that a kill leaves to the next run: workloads gone, a record gone, one replaced and the other gone, all done.
PLACES = (
    "bindings:after-begin",
    "record-east:after-begin",
    "record-west:after-begin",
    "journal:finish:before",
)


class Ledger:
    """A deployment of three members, and a system that says what `told` is."""

    def __init__(self, found: Any) -> None:
        self.world = found
        self.told = found.folder / "told.json"
        for module in ("member_inspect", "deployment_observe"):
            plugin = found.collections / f"ansible_collections/hostnet/multicluster/plugins/action/{module}.py"
            text = plugin.read_text()
            for before, after in (
                ("def told(members):\n", 'def told(members):\n    given = json.loads(Path(os.environ["TEST_TOLD"]).read_text())\n'),
                ('"cluster_id": 99,', '"cluster_id": given["cluster_id"],'),
                ('"leader": min(ids.values()),', '"leader": number,'),
                (
                    "        for member in members\n    ]",
                    '        for member in members\n        if member["member"] in given["members"]\n    ]',
                ),
                (
                    "    return etcd.inspection",
                    '    for name in set(answers) - set(given["members"]):\n        answers[name] = {}\n    return etcd.inspection',
                ),
            ):
                assert text.count(before) == 1, before
                text = text.replace(before, after)
            plugin.write_text(text)

    def tell(self, cluster_id: int, *members: str) -> None:
        self.told.write_text(json.dumps({"cluster_id": cluster_id, "members": members}))

    def play(self, playbook: str, *, failpoint: str = "", check: bool = False, **variables: Any) -> Any:
        environment = {"TEST_TOLD": str(self.told), **({"HOSTNET_FAILPOINT": failpoint} if failpoint else {})}
        return self.world.play(playbook, check=check, environment=environment, **variables)

    def adopt(self, cluster_id: str = "64", name: str = NAME, **options: Any) -> Any:
        return self.play("adopt.yml", hostnet_adopt_name=name, hostnet_adopt_cluster_id=cluster_id, **options)

    def get(self, kube: KubeApi, suffix: str) -> Json:
        try:
            found: Json = kube.request_json("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}-{suffix}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return {"data": {}}
        return found

    def sets(self) -> list[str]:
        return sorted(
            item["metadata"]["name"]
            for kube in self.world.kubes
            for item in kube.request_json("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets")["items"]
        )


@pytest.fixture
def ledger(world: Any) -> Ledger:
    found = Ledger(world)
    found.tell(99, "east-0", "east-1", "west-0")
    run = found.play("deploy.yml")
    assert run.rc == 0, run.output
    return found


def test_what_is_not_named_or_does_not_fit_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    before = ledger.world.objects()
    ledger.tell(100, "west-0")
    for options, part in (
        ({"name": "another"}, "type its name to adopt it"),
        ({"cluster_id": ""}, "hostnet_adopt_cluster_id is empty"),
        ({"cluster_id": "63"}, "the members report another cluster id: 64: west-0"),
    ):
        run = ledger.adopt(**options)
        assert part in made_up.message(run)
        assert not run.changed
    assert "the record says 63" in made_up.message(ledger.play("deploy.yml"))
    checked = ledger.adopt(check=True)
    assert checked.rc == 0, checked.output
    assert "cluster id 64 replaces 63" in checked.output
    assert ledger.world.objects() == before


def test_it_is_finished_wherever_it_was_killed(ledger: Ledger) -> None:
    kubes = ledger.world.kubes
    ledger.tell(100, "west-0")
    # A rollout was under way.
    journal = ledger.world.journal("old-run", "start", {}, detail={"work": "reboot", "what": "reboot"})["journal"]
    assert journal["state"] == "in_flight"
    ledger.world.lock("old-run", "free")
    for place in PLACES:
        killed = ledger.adopt(failpoint=place)
        assert killed.rc == -9, f"{place}: {killed.output}"
        if place == "bindings:after-begin":
            for playbook, variables in (("deploy.yml", {}), ("upgrade.yml", {"hostnet_work": "reboot", "hostnet_abort": True})):
                assert f"{NAME} is being adopted" in made_up.message(ledger.play(playbook, **variables)), place
    run = ledger.adopt()
    assert run.rc == 0, run.output
    assert ledger.sets() == [f"{NAME}-west-0"]
    for kube in kubes:
        record, members, join = (ledger.get(kube, suffix) for suffix in ("cluster-id", "members", "join"))
        assert record["data"]["cluster_id"] == "64"
        assert record["immutable"]
        assert record["metadata"]["annotations"]["hostnet.multicluster/former-cluster-id"] == "63"
        assert sorted(members["data"]) == ["ordinals", "west-0"]
        assert json.loads(members["data"]["ordinals"]) == {"east": 1, "west": 0}
        assert (join["data"]["seeds"], join["data"]["HOSTNET_STATE"]) == ("10.0.1.1", "existing")
        assert json.loads(ledger.get(kube, "rollout")["data"]["journal"])["state"] == "done"
    labels = {
        node["metadata"]["name"]: node["metadata"].get("labels", {}).get(f"hostnet.multicluster/{NAME}", "")
        for kube in kubes
        for node in kube.request_json("GET", "/api/v1/nodes")["items"]
    }
    assert labels == {"east-1": "", "east-2": "", "west-1": "west-0"}
    before = [ledger.get(kube, "cluster-id")["metadata"]["uid"] for kube in kubes]
    again = ledger.adopt()
    assert again.rc == 0, again.output
    assert [ledger.get(kube, "cluster-id")["metadata"]["uid"] for kube in kubes] == before
    status = ledger.play("status.yml")
    assert status.rc == 0, status.output
    assert "healthy, 1 of 1 members, cluster id 64" in status.output


def test_a_kube_cluster_that_is_gone_for_good_with_the_majority(ledger: Ledger) -> None:
    """Nobody reaches east any more: adopt.yml goes without it, and then forget_kube_cluster.yml may take it out of the record."""
    east, west = ledger.world.kubes
    left: Json = {"hostnet_kube_clusters": [west.entry]}
    lost: Json = {**left, "hostnet_lost_kube_cluster": "east"}
    ledger.tell(100, "west-0")
    assert "playbooks/adopt.yml with -e hostnet_lost_kube_cluster=east" in made_up.message(ledger.adopt(**left))
    before = east.request_json("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps")["items"]
    run = ledger.adopt(**lost)
    assert run.rc == 0, run.output
    assert ledger.get(west, "cluster-id")["data"]["cluster_id"] == "64"
    assert sorted(ledger.get(west, "members")["data"]) == ["ordinals", "west-0"]
    assert ledger.get(west, "join")["data"]["seeds"] == "10.0.1.1"
    assert east.request_json("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps")["items"] == before
    forgotten = ledger.play("forget_kube_cluster.yml", **lost)
    assert forgotten.rc == 0, forgotten.output
    record = ledger.get(west, "kube-clusters-2")["data"]
    assert (list(json.loads(record["kube_clusters"])), list(json.loads(record["lost"]))) == (["west"], ["east"])
    # So that what is left in east can be removed after this test.
    west.request_json("DELETE", f"/api/v1/namespaces/{NAMESPACE}/configmaps")
