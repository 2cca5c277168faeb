# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who keeps the cluster autoscaler away from a node: several deployments, or somebody else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import held
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.held import HOLDERS, SCALE_DOWN

Annotations = dict[str, str]


def applied(annotations: Annotations, change: held.Change) -> Annotations:
    merged = {**annotations, **change}
    return {key: value for key, value in merged.items() if value is not None}


def test_the_last_deployment_takes_it_away() -> None:
    one = applied({}, held.hold({}, "ledger"))
    assert one == {SCALE_DOWN: "true", HOLDERS: "ledger"}
    assert held.hold(one, "ledger") == {}, "a second run changes nothing"
    both = applied(one, held.hold(one, "bank"))
    assert both == {SCALE_DOWN: "true", HOLDERS: "bank,ledger"}
    left = applied(both, held.release(both, "ledger"))
    assert left == {SCALE_DOWN: "true", HOLDERS: "bank"}
    assert held.release(left, "ledger") == {}
    assert applied(left, held.release(left, "bank")) == {}


def test_what_somebody_else_had_set_is_left_alone() -> None:
    for value in ("true", "false"):
        assert held.hold({SCALE_DOWN: value}, "ledger") == {}
        assert held.release({SCALE_DOWN: value}, "ledger") == {}
    # Taken away or changed by hand while a deployment holds it: set again, and not taken from whoever changed it last.
    assert held.hold({HOLDERS: "ledger"}, "ledger") == {SCALE_DOWN: "true"}
    assert held.release({SCALE_DOWN: "false", HOLDERS: "ledger"}, "ledger") == {HOLDERS: None}


NAMES = st.sampled_from(["a", "b", "c"])


@given(
    start=st.sampled_from([{}, {SCALE_DOWN: "true"}, {SCALE_DOWN: "false"}]),
    moves=st.lists(st.tuples(st.booleans(), NAMES), max_size=12),
)
def test_after_any_moves_it_is_there_as_long_as_somebody_holds_it(start: Annotations, moves: list[tuple[bool, str]]) -> None:
    annotations, holders = dict(start), set()
    for wanted, name in moves:
        annotations = applied(annotations, (held.hold if wanted else held.release)(annotations, name))
        (holders.add if wanted else holders.discard)(name)
        if start:
            assert annotations == start
        else:
            assert annotations == ({SCALE_DOWN: "true", HOLDERS: ",".join(sorted(holders))} if holders else {})


def test_changes_of_labels_and_annotations_of_a_node_are_one() -> None:
    nodes = {"a": {}, "b": {SCALE_DOWN: "true", HOLDERS: "ledger"}, "c": {}, "d": {SCALE_DOWN: "true"}}
    changes = held.with_annotations([{"name": "a", "before": {}, "after": {"k": "v"}}], nodes, {"a", "d"}, "ledger", True)
    assert changes == [
        {
            "name": "a",
            "before": {},
            "after": {"k": "v"},
            "annotations_before": {},
            "annotations_after": {SCALE_DOWN: "true", HOLDERS: "ledger"},
        },
        {
            "name": "b",
            "before": {},
            "after": {},
            "annotations_before": {HOLDERS: "ledger", SCALE_DOWN: "true"},
            "annotations_after": {},
        },
    ]
    assert [change["name"] for change in held.with_annotations([], nodes, {"a"}, "ledger", False)] == ["a"], "others are left alone"
