# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source's documentation, its rulebook and docs/events.md are what the code is."""

from __future__ import annotations

import re
import runpy
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import events
from support.collection import CHECKOUT

Json = dict[str, Any]
EDA = CHECKOUT / "extensions" / "eda"
SOURCE: Json = runpy.run_path(str(EDA / "plugins" / "event_source" / "nodes.py"))
OPTIONS: Json = yaml.safe_load(SOURCE["DOCUMENTATION"])["options"]
RULEBOOK: list[Json] = yaml.safe_load((EDA / "rulebooks" / "follow.yml").read_text())
PAGE = (CHECKOUT / "docs" / "events.md").read_text()


def test_options_are_documented_as_they_are() -> None:
    assert set(OPTIONS) == set(SOURCE["ARGUMENTS"])
    for name, option in SOURCE["ARGUMENTS"].items():
        assert (OPTIONS[name].get("default") or "") == (option.get("default") or ""), name
    (example,) = yaml.safe_load(SOURCE["EXAMPLES"])
    assert set(example["hostnet.multicluster.nodes"]) <= set(OPTIONS)


def test_the_rulebook_names_what_is_there() -> None:
    (ruleset,) = RULEBOOK
    (source,) = ruleset["sources"]
    # Every option may be set by whoever runs it.
    assert set(source["hostnet.multicluster.nodes"]) == set(OPTIONS)
    types, fields = {*events.ENDS, *events.ENDS.values()}, set(events.event("gone", ""))
    for rule in ruleset["rules"]:
        text = yaml.safe_dump(rule, width=1000)
        assert set(re.findall(r"event\.(\w+)", text)) <= fields
        named = re.findall(r'"([a-z_]+)"', re.sub(r"event\.(?:work|level) == \S+", "", rule["condition"]))
        assert named
        assert set(named) <= types
        for action in rule["actions"]:
            playbook = action["run_playbook"]["name"].removeprefix("hostnet.multicluster.")
            assert (CHECKOUT / "playbooks" / f"{playbook}.yml").is_file()
            assert f"`{playbook}`" in PAGE


def test_the_page_has_every_event_and_field() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {*events.ENDS, *filter(None, events.ENDS.values())} <= named
    assert {*events.event("gone", ""), "at"} <= named
    assert set(OPTIONS) - {"name"} <= {*named, *re.findall(r"^(\w+):", PAGE, re.MULTILINE)}
