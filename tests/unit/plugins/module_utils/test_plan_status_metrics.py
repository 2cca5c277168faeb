# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of a status, read by Prometheus' own Python client."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parsed

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import rollout_words, status_metrics
from support import statuses
from support.collection import CHECKOUT
from support.page_checks import EVIL

MONITORING = CHECKOUT / "docs" / "monitoring"
_NAME = re.compile(r"\bhostnet_[a-z_]+")


def samples(status: Any, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by its labels but for the deployment's."""
    return {
        tuple(value for key, value in sample.labels.items() if not key.startswith("deployment")): sample.value
        for family in parsed(status_metrics.metrics(status))
        for sample in family.samples
        if sample.name == name
    }


def of_sample(status: Any) -> set[str]:
    return {sample.name for family in parsed(status_metrics.metrics(status)) for sample in family.samples}


def test_well() -> None:
    status = statuses.well()
    assert samples(status, "hostnet_deployment_healthy") == {(): 1}
    assert set(samples(status, "hostnet_member_healthy").values()) == {1}
    assert samples(status, "hostnet_certificate_not_after_timestamp_seconds")["east-0", "east"] == 1826884800
    assert samples(status, "hostnet_status_timestamp_seconds") == {(): 1796115600}
    assert samples(status, "hostnet_lock_held") == {("east",): 0, ("west",): 0}
    assert samples(status, "hostnet_rollout_in_progress") == {(): 0}
    assert "hostnet_rollout_members_done" not in of_sample(status)


def test_troubled() -> None:
    status = statuses.troubled()
    assert samples(status, "hostnet_deployment_healthy") == {(): 0}
    assert samples(status, "hostnet_deployment_problems") == {(): 6}
    assert samples(status, "hostnet_member_healthy") == {
        ("east-0", "east"): 1,
        ("east-1", "east"): 0,
        ("east-2", "east"): 0,
    }
    assert samples(status, "hostnet_kube_cluster_up") == {("east",): 1, ("west",): 0}
    marked = {labels for labels, value in samples(status, "hostnet_vm_marked").items() if value}
    assert marked == {("east-0", "east", "going"), ("east-2", "east", "marked")}
    # Of what nobody knows there is no number, and not a wrong one either.
    assert ("west-0", "west") not in samples(status, "hostnet_certificate_not_after_timestamp_seconds")
    assert samples(status, "hostnet_lock_held") == {("east",): 1}
    assert samples(status, "hostnet_rollout_members_done") == {(): 1}
    assert samples(status, "hostnet_member_restarts_total")["east-0", "east"] == 3
    (replaced,) = [labels for labels in samples(status, "hostnet_member_info") if "east-1" in labels]
    assert replaced[:4] == ("east-1", "east", "replaced", "east-worker2")


@pytest.mark.parametrize("name", statuses.ALL)
def test_each_metric_is_told_once_and_explained(name: str) -> None:
    families = list(parsed(status_metrics.metrics(statuses.ALL[name])))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.documentation.endswith(".")
        assert family.type in ("gauge", "counter")
        labels = [tuple(sorted(sample.labels.items())) for sample in family.samples]
        assert len(set(labels)) == len(labels)
        assert {tuple(sample.labels) for sample in family.samples} == {tuple(family.samples[0].labels)}


def test_names_of_labels_are_not_those_that_a_scrape_has() -> None:
    taken = {"namespace", "pod", "container", "service", "endpoint", "instance", "job"}
    for family in parsed(status_metrics.metrics(statuses.troubled())):
        assert not taken & set(family.samples[0].labels)


_TEXT = st.one_of(st.text(st.characters(), min_size=1, max_size=12), st.sampled_from([*EVIL, 'a"} 1\nb', "\\", "\\n", 'x\\"', "\ud800"]))


@settings(max_examples=100, deadline=None)
@given(st.lists(_TEXT, min_size=3, max_size=5, unique=True))
def test_any_name_is_read_as_it_was(names: list[str]) -> None:
    status = statuses.renamed(statuses.troubled(), names)
    text = status_metrics.metrics(status)
    assert text.encode("utf-8")
    read = {sample.labels["image"] for family in parsed(text) if family.name == "hostnet_member_info" for sample in family.samples}
    assert read == {rollout_words.text(name) for name in names}


def _expressions(value: Any) -> list[str]:
    """All texts of a document."""
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _expressions(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _expressions(inner)]
    return [value] if isinstance(value, str) else []


def test_alerts_and_dashboard_use_metrics_that_there_are() -> None:
    written = of_sample(statuses.troubled())
    rules = yaml.safe_load((MONITORING / "prometheus-rules.yml").read_text())
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    for document in (rules, dashboard):
        used = {name for text in _expressions(document) for name in _NAME.findall(text)} - {"hostnet_abort", "hostnet_work"}
        assert used
        assert used <= written
    # Each is either in the dashboard, or in an alert, or a fact that is asked for by hand.
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_all_metrics_are_documented() -> None:
    table = (CHECKOUT / "docs" / "status.md").read_text().partition("| metric |")[2].partition("\n\n")[0]
    assert set(_NAME.findall(table)) == of_sample(statuses.troubled())
