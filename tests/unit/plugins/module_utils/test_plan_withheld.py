# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What facts of the roles do not have, and that each call has it all the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import withheld

NAMES = st.lists(st.sampled_from(["east", "west", "north"]), unique=True)
PROXIES = ["http://proxy.example.com:3128", "http://me:s3cret@proxy.example.com:3128", "http://[s3cret", ""]


@st.composite
def entries(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for name in draw(NAMES):
        options = {"context": st.just("a"), "api_key": st.just("s3cret"), "proxy": st.sampled_from(PROXIES)}
        found.append({"name": name, **draw(st.fixed_dictionaries({}, optional=options))})
    return found


@given(entries())
def test_nothing_secret_is_left_and_nothing_is_lost(kube_clusters: list[dict[str, Any]]) -> None:
    shown = withheld.withheld(kube_clusters)
    assert "s3cret" not in str(shown)
    assert [entry["name"] for entry in shown] == [entry["name"] for entry in kube_clusters]
    assert withheld.restored(shown, {withheld.VARIABLE: kube_clusters}) == kube_clusters
    assert withheld.variables(shown) == ({withheld.VARIABLE} if "s3cret" in str(kube_clusters) else set())


def test_what_has_no_secret_is_left_alone() -> None:
    kube_clusters = [{"name": "east", "kubeconfig": "/k", "proxy": PROXIES[0]}]
    assert withheld.withheld(kube_clusters) == kube_clusters
    assert withheld.restored(kube_clusters, {}) == kube_clusters


@pytest.mark.parametrize("given", [None, "text", [], [{"name": "west", "api_key": "x"}], ["text"]])
def test_a_variable_without_the_kube_cluster_is_an_error(given: Any) -> None:
    shown = withheld.withheld([{"name": "east", "api_key": "s3cret"}])
    with pytest.raises(
        ValueError, match="kube cluster east: its credentials are in hostnet_kube_clusters, which has no entry of that name here"
    ):
        withheld.restored(shown, {withheld.VARIABLE: given})


@pytest.mark.parametrize("given", [None, "all_contexts", {}, [1, "east", None]])
def test_other_shapes_are_for_the_argument_spec_to_refuse(given: Any) -> None:
    assert withheld.variables(given) == set()
