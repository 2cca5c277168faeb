#!/usr/bin/python
# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: cockroachdb_spec
short_description: Makes the system spec of CockroachDB for one version
version_added: "0.4.0"
author:
  - hostnet.multicluster contributors (@hostnet-multicluster)
description:
  - Adds to a spec of CockroachDB what depends on the version of its image, which is told by the tag, and on what a user has set.
  - Fails where the version is unknown or too old, and where cluster settings cannot be applied from here.
  - It asks nobody and changes nothing.
extends_documentation_fragment:
  - hostnet.multicluster.kube_clusters.ignored
  - hostnet.multicluster.attributes.deciding
  - hostnet.multicluster.attributes.action_group
options:
  spec:
    description:
      - The spec without what is added; docs/systems.md describes it.
    type: dict
    required: true
  image:
    description:
      - The image.
    type: str
    required: true
  version:
    description:
      - Its version, only where the tag does not tell it.
    type: str
    default: ""
  locality:
    description:
      - Template of each member's locality. Empty means none.
    type: str
    default: ""
  log:
    description:
      - Log configuration. Empty means messages from INFO on to the container's output.
    type: dict
    default: {}
  extra_args:
    description:
      - Flags of C(cockroach start) that are put after all others.
    type: list
    elements: str
    default: []
  settings:
    description:
      - Cluster settings by name, which are checked and not applied. Names and values of what is wrong with them are told, but no secret.
    type: raw
"""

EXAMPLES = r"""
- name: Make the spec of CockroachDB v26.2.5
  hostnet.multicluster.cockroachdb_spec:
    spec: {args: [start]}
    image: docker.io/cockroachdb/cockroach:v26.2.5
    extra_args: [--max-offset=250ms]
    settings: {kv.rangefeed.enabled: true}
  register: made

- name: Show its flags
  ansible.builtin.debug:
    msg: "{{ made.spec.args }}"
"""

RETURN = r"""
spec:
  description: The spec.
  returned: success
  type: dict
  sample: {}
requests:
  description: API requests sent, always 0.
  returned: always
  type: int
  sample: 0
"""

from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import cockroachdb, cockroachdb_settings

ARGUMENTS: dict[str, Any] = {
    **_call.IGNORED,
    "spec": {"type": "dict", "required": True},
    "image": {"type": "str", "required": True},
    "version": {"type": "str", "default": ""},
    "locality": {"type": "str", "default": ""},
    "log": {"type": "dict", "default": {}},
    "extra_args": {"type": "list", "elements": "str", "default": []},
    "settings": {"type": "raw"},
}


def run(call: _call.Call) -> dict[str, Any]:
    params = call.params
    settings = params["settings"] or {}
    # One of them may be a secret, which is refused.
    params["settings"] = "not shown"
    try:
        spec = cockroachdb.complete_spec(
            params["spec"], params["image"], params["version"], params["locality"], params["extra_args"], params["log"]
        )
    except ValueError as error:
        raise _call.Failure(str(error)) from error
    wrong = cockroachdb_settings.refusal(settings)
    if wrong:
        raise _call.Failure(wrong)
    return {"changed": False, "spec": spec}


def main() -> None:
    _call.main(ARGUMENTS, run)


if __name__ == "__main__":
    main()
