# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the CA may live, and what is said where it is not the one that a deployment relies on."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import classify, deployment, pki_place, rollout, trust_revisions
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.pki_place import Place, Surroundings, place
from support import plans
from support.plans import FINGERPRINT, Json

INSTALLED = "/usr/share/ansible/collections/ansible_collections/hostnet/multicluster"


def around(*folders: str, **changes: Any) -> Surroundings:
    return Surroundings({folder: folder for folder in folders}, **{"temporary": ["/tmp", "/var/tmp"], **changes})


# -- the default -----------------------------------------------------------------------------------------------------


def test_default_is_beside_the_inventory() -> None:
    """And where Ansible does not take the CA for an inventory: it reads every folder in a folder of inventories that is not hidden."""
    assert place("ledger", "", "", around("/ops/prod")) == Place("/ops/prod/.hostnet-pki/ledger")


def test_default_is_the_same_for_any_order_of_sources() -> None:
    # The same folder twice: by itself, and through a link to it.
    links = {"/ops/prod": "/ops/prod", "/ops/current": "/ops/prod"}
    found = {place("ledger", "", "", Surroundings(dict(order))) for order in itertools.permutations(links.items())}
    assert found == {Place("/ops/prod/.hostnet-pki/ledger")}


def test_inventories_in_several_folders_have_no_default() -> None:
    texts = {
        place("ledger", "", "", around(*order, authorities=["/ops/west/pki/ledger"])).problem
        for order in itertools.permutations(("/ops/east", "/ops/west"))
    }
    assert len(texts) == 1
    text = texts.pop()
    for part in ("/ops/east and /ops/west", "by the order of -i", "a CA is in /ops/west/pki/ledger", "set hostnet_pki_dir"):
        assert part in text


def test_what_version_0_2_0_made_beside_the_inventory_stays_in_use() -> None:
    old, new = "/ops/prod/pki/ledger", "/ops/prod/.hostnet-pki/ledger"
    assert place("ledger", "", "", around("/ops/prod", authorities=[old])) == Place(old)
    assert place("ledger", "", "", around("/ops/prod", authorities=[old, new])) == Place(new)


@pytest.mark.parametrize(
    ("surroundings", "part"),
    [
        (around(), "no inventory file"),
        (around(f"{INSTALLED}/inventories/prod"), "inside of the collection hostnet.multicluster"),
        (around("/tmp/job-7/inventory"), "temporary folder /tmp"),
        (around("/runner/inventory", throw_away={"/runner/inventory": "a job of AWX"}), "does not outlive a job of AWX"),
    ],
    ids=["none", "collection", "temporary", "container"],
)
def test_no_default_where_nothing_lasts(surroundings: Surroundings, part: str) -> None:
    found = place("ledger", "", "", surroundings)
    assert found.path == ""
    assert part in found.problem
    assert "set hostnet_pki_dir to a folder that lasts" in found.problem
    # Not even where a CA is there already: it is named by `left`, and stays a thing to be moved.
    taken = [f"{folder}/{sub}/ledger" for folder in surroundings.folders for sub in ("pki", ".hostnet-pki")]
    assert place("ledger", "", "", around(*surroundings.folders, throw_away=surroundings.throw_away, authorities=taken)).path == ""


def test_a_link_into_a_collection_is_in_the_collection() -> None:
    """An inventory that is given by its place in the collection, which is itself a link to a checkout."""
    assert "inside of the collection" in place("ledger", "", "", Surroundings({f"{INSTALLED}/inventories": "/src/inventories"})).problem
    assert "inside of the collection" in place("ledger", "", "", Surroundings({"/ops": f"{INSTALLED}/inventories"})).problem


# -- named by the user -----------------------------------------------------------------------------------------------


def test_a_named_folder_counts_alone() -> None:
    for surroundings in (around(), around("/a", "/b"), around("/tmp/x")):
        assert place("ledger", "/srv/pki", "/srv/pki", surroundings) == Place("/srv/pki")


@pytest.mark.parametrize(
    ("given", "resolved", "part"),
    [
        ("pki/ledger", "/play/pki/ledger", "it must be an absolute path"),
        (f"{INSTALLED}/pki", f"{INSTALLED}/pki", "inside of the collection hostnet.multicluster"),
        ("/ops/ansible_collections/acme/infra/pki", "/ops/ansible_collections/acme/infra/pki", "inside of the collection acme.infra"),
        ("/srv/pki", f"{INSTALLED}/pki", "inside of the collection hostnet.multicluster"),
    ],
)
def test_named_folders_that_are_refused(given: str, resolved: str, part: str) -> None:
    found = place("ledger", given, resolved, around("/ops"))
    assert found.path == ""
    assert part in found.problem
    assert f"hostnet_pki_dir is {given}" in found.problem


def test_a_named_temporary_folder_is_warned_of() -> None:
    found = place("ledger", "/tmp/pki", "/tmp/pki", around())
    assert (found.path, found.problem) == ("/tmp/pki", "")
    assert "is lost when that is cleared" in found.warning
    assert place("ledger", "/tmporary/pki", "/tmporary/pki", around()).warning == ""


@pytest.mark.parametrize(
    ("path", "collection"),
    [
        ("/x/ansible_collections/a/b", "a.b"),
        ("/x/ansible_collections/a/b/c/d", "a.b"),
        ("/x/ansible_collections/a", ""),
        ("/x/my_ansible_collections/a/b", ""),
        ("/x/y", ""),
    ],
)
def test_inside_collection(path: str, collection: str) -> None:
    assert pki_place.inside_collection(path) == collection


# -- the CA of a record ----------------------------------------------------------------------------------------------

PKI: Json = {
    "path": "/pki/ledger",
    "certificate": "/pki/ledger/ca.crt",
    "private_key": "/pki/ledger/ca.key",
    "fingerprint": FINGERPRINT,
    "has_key": True,
    "problem": "",
    "left": [],
}
LEFT: Json = {"path": f"{INSTALLED}/playbooks/pki/ledger", "fingerprint": FINGERPRINT, "has_key": True, "new_exists": False}
RECORD: Json = {"ca_fingerprint": FINGERPRINT}
LOST = {
    "certificate": (
        {"fingerprint": "", "has_key": False},
        ("/pki/ledger/ca.crt does not exist on this controller", "restore the folder /pki/ledger", "system.nk"),
    ),
    "another": ({"fingerprint": "cd" * 32}, ("/pki/ledger/ca.crt has cdcd", "which no member trusts", "restore")),
    "key": (
        {"has_key": False},
        ("/pki/ledger/ca.key does not exist on this controller", "restore the folder /pki/ledger with ca.crt and ca.key"),
    ),
    "place": ({"path": "", "problem": "hostnet_pki_dir is not set"}, ("hostnet_pki_dir is not set",)),
}


def settings(**changes: Any) -> Json:
    return plans.settings(pki={**PKI, **changes})


def test_the_recorded_ca_is_here() -> None:
    assert pki_place.refusals(settings(), RECORD) == []
    assert pki_place.refusals(settings(), None) == []
    # Settings of something that never asked, such as a caller of the filters.
    assert pki_place.refusals(plans.settings(), RECORD) == []
    assert pki_place.warnings(plans.settings(), None) == []


@pytest.mark.parametrize(("changes", "parts"), LOST.values(), ids=LOST)
def test_a_recorded_ca_that_is_not_here(changes: Json, parts: tuple[str, ...]) -> None:
    [text] = pki_place.refusals(settings(**changes), RECORD)
    for part in (*parts, f"deployment ledger relies on the CA with the SHA-256 fingerprint {FINGERPRINT}"):
        assert part in text


def test_a_ca_of_the_users_own_is_restored_where_he_said() -> None:
    own = {"certificate": "/etc/acme/ca.pem", "private_key": "/media/stick/ca-key.pem", "has_key": False}
    [text] = pki_place.refusals(settings(**own), RECORD)
    assert "restore /etc/acme/ca.pem and /media/stick/ca-key.pem from a backup, or correct hostnet_ca" in text


@pytest.mark.parametrize(
    ("path", "changes", "parts"),
    [
        ("/pki/ledger", {}, ("`mkdir -p -m 0700 /pki && mv ", f"{INSTALLED}/playbooks/pki/ledger /pki/ledger` moves it")),
        ("/my pki/ledger", {}, ("mkdir -p -m 0700 '/my pki' && mv ", "'/my pki/ledger'")),
        ("/pki/ledger", {"new_exists": True}, (f"`cp -Rpn {INSTALLED}/playbooks/pki/ledger/. /pki/ledger/` copies it",)),
        ("", {}, ("move that folder to one that lasts, and set hostnet_pki_dir to it",)),
        ("/pki/ledger", {"has_key": False}, (", without its key",)),
    ],
)
def test_what_an_older_version_left_is_named_and_moved_by_the_user(path: str, changes: Json, parts: tuple[str, ...]) -> None:
    [text] = pki_place.refusals(settings(path=path, fingerprint="", has_key=False, left=[{**LEFT, **changes}]), RECORD)
    for part in ("where an older version left it", f"That CA is in {LEFT['path']}", *parts):
        assert part in text


def test_only_the_recorded_ca_is_worth_moving() -> None:
    other = {**LEFT, "path": "/a", "fingerprint": "cd" * 32}
    keyless = {**LEFT, "path": "/b", "has_key": False}
    [text] = pki_place.refusals(settings(fingerprint="", left=[other, keyless, LEFT]), RECORD)
    assert f"That CA is in {LEFT['path']}, where" in text
    [text] = pki_place.refusals(settings(fingerprint="", left=[other]), RECORD)
    assert "older version" not in text


def test_without_a_record_an_old_ca_is_a_warning() -> None:
    missing = settings(fingerprint="", has_key=False, left=[LEFT])
    assert pki_place.refusals(missing, None) == []
    [text] = pki_place.warnings(missing, None)
    assert LEFT["path"] in text
    assert "a new CA is made in /pki/ledger" in text
    assert pki_place.warnings(missing, RECORD) == []
    assert pki_place.warnings(settings(left=[LEFT]), None) == []


@pytest.mark.parametrize("changes", [changes for changes, _parts in LOST.values()], ids=LOST)
def test_every_plan_says_so(changes: Json) -> None:
    """deploy by its errors, upgrade, repair and scale_down by the conflicts, in check mode as well; status by what it warns of."""
    spec = plans.spec_of("etcd")
    hostnet = settings(**changes)
    bindings = plans.admitted(hostnet, spec, plans.five_nodes())
    nodes, observed = plans.labelled(plans.five_nodes(), bindings), plans.running(hostnet, bindings)
    plan = deployment.deployment_plan(hostnet, spec, nodes, observed)
    [text] = plan["lost_ca"]
    assert plan["errors"] == [text]
    for work in ("reboot", "replace", "version", "repair", "scale_down"):
        request = {"work": work, "surge": False, "members": ["east-0"], "limit_nodes": None, "max_members": 0, "abort": False}
        status = classify.deployment_status(hostnet, plan, nodes, observed, {})
        assert text in rollout.rollout_plan(hostnet, spec, request, plan, nodes, status, None)["errors"]
    well = deployment.deployment_plan(settings(), spec, nodes, observed)
    assert (well["errors"], well["lost_ca"]) == ([], [])


def test_while_cas_are_exchanged_the_issuer_counts_and_all_that_are_trusted_are_here() -> None:
    old, new = "0a" * 32, "0b" * 32
    trust = trust_revisions.make(3, [old, new], new)
    identity = {"ca_fingerprint": old}

    def refused(*fingerprints: str, has_key: bool = True) -> list[str]:
        here = [
            {"fingerprint": fingerprint, "certificate": f"/p/ca-{fingerprint}.crt", "private_key": "/p/k", "has_key": has_key}
            for fingerprint in fingerprints
        ]
        return pki_place.refusals(settings(fingerprint=old, authorities=here), identity, trust)

    assert refused(old, new) == []
    assert "private key /p/k does not exist" in refused(old, new, has_key=False)[0]
    assert f"trust the CA with the SHA-256 fingerprint {old} too" in refused(new)[0]
    # The folder of another controller, or a backup from before the exchange.
    assert f"relies on the CA with the SHA-256 fingerprint {new}" in refused(old)[0]
    # There is a way back as long as the new one has issued nothing.
    assert "abandon" not in refused(new)[0]
    trust = trust_revisions.make(2, [old, new], old)
    assert f"{new} too" in refused(old)[0]
    assert refused(old)[0].endswith("goes back with hostnet_ca_phase=abandon")
