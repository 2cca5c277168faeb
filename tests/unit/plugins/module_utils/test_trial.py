# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pods the API servers are asked about, and what is made of their answers."""

from __future__ import annotations

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import deployment, settings_and_spec, trial
from support import plans
from support.plans import Json

SPEC = plans.spec_of("etcd")
NODES = plans.five_nodes()
THERE = {"labels": {}, "phase": "Active"}


def planned(**changes: object) -> tuple[Json, Json]:
    hostnet = plans.settings(**changes)
    observed = {"east": plans.nothing(namespace=THERE), "west": plans.nothing()}
    return hostnet, deployment.deployment_plan(hostnet, SPEC, NODES, observed)


@pytest.mark.parametrize("placed", settings_and_spec.PLACEMENTS)
def test_a_pod_as_the_members_will_be_where_the_namespace_is_there(placed: str) -> None:
    hostnet, plan = planned(placement=placed)
    east, west, gone = trial.trial_pods(
        hostnet,
        SPEC,
        plan,
        {"east": plans.nothing(namespace=THERE), "west": plans.nothing(), "west2": plans.nothing(namespace=THERE)},
    )
    assert (west["definition"], gone["definition"]) == (None, None)
    pod = east["definition"]
    assert (pod["kind"], pod["metadata"]["namespace"], pod["metadata"]["name"]) == ("Pod", "bank", "ledger-trial")
    assert pod["spec"]["priorityClassName"] == "system-cluster-critical"
    assert (pod["spec"]["hostNetwork"], pod["spec"]["containers"][0]["image"]) == (True, "example.test/etcd:1")
    assert pod["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"


def test_a_kube_cluster_that_is_away_is_not_asked() -> None:
    hostnet, plan = planned()
    assert trial.trial_pods(hostnet, SPEC, plan, {"east": {**plans.nothing(), "absent": True}}) == []


def said(text: str = "", exists: bool = True) -> list[Json]:
    return [{"kube_cluster": "east", "refused": text, "class_exists": exists, "missing_secrets": []}]


SCOPE = 'pods "x" is forbidden: insufficient quota to match these scopes: [{PriorityClass In [system-cluster-critical]}]'


def test_refusals_name_the_variable_and_the_remedy() -> None:
    hostnet, plan = planned()
    assert trial.trial_errors(hostnet, plan, said()) == []
    (scope,) = trial.trial_errors(hostnet, plan, said(SCOPE))
    assert scope.startswith(
        "kube cluster east: namespace bank lets no pod have the priority class system-cluster-critical (hostnet_priority_class)"
    )
    assert 'or to "" for none' in scope
    for answer in (said(exists=False), said('pods "x" is forbidden: no PriorityClass with name system-cluster-critical was found')):
        (missing,) = trial.trial_errors(hostnet, plan, answer)
        assert missing.startswith("kube cluster east has no PriorityClass system-cluster-critical (hostnet_priority_class)")
    young = said('pods "x" is forbidden: error looking up service account bank/default: serviceaccount "default" not found')
    assert trial.trial_errors(hostnet, plan, young) == [], "a namespace that was made a moment ago"
    (other,) = trial.trial_errors(hostnet, plan, said("admission webhook nope denied the request"))
    assert "refuses a member's pod in namespace bank: admission webhook nope denied the request" in other


def test_a_full_quota_is_in_the_way_of_new_members_only() -> None:
    hostnet, plan = planned()
    full = said('pods "x" is forbidden: exceeded quota: few, requested: pods=1, used: pods=3, limited: pods=3')
    assert len(trial.trial_errors(hostnet, plan, full)) == 1
    assert trial.trial_errors(hostnet, {**plan, "new": []}, full) == []


def test_secrets_for_images_that_are_missing_are_one_sentence() -> None:
    hostnet, plan = planned(pull_secrets=["mirror", "other"])
    results = [
        {"kube_cluster": name, "refused": "", "class_exists": True, "missing_secrets": missing}
        for name, missing in (("east", ["mirror"]), ("west", ["mirror", "other"]), ("north", []))
    ]
    (error,) = trial.trial_errors(hostnet, plan, results)
    assert error.startswith("Secrets of hostnet_pull_secrets are not in namespace bank, or are none for a registry")
    assert ": kube cluster east: mirror; kube cluster west: mirror, other. Make them there" in error
    assert trial.trial_errors(hostnet, plan, results[2:]) == []
