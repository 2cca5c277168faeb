# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of Sphinx for the documentation site, which tests/gates/docs_site.py builds."""

from __future__ import annotations

from typing import Any

from docutils import nodes

project = "hostnet.multicluster"
author = "hostnet.multicluster contributors"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
html_theme = "furo"
html_title = project
html_copy_source = False
# Anchors as GitHub makes them of headings, so that the same links work in both places.
myst_heading_anchors = 6
# Code blocks hold commands with placeholders and output, which no lexer takes.
highlight_language = "none"

# What pages of modules refer to in Ansible's own documentation. By name and not by its index, so that a build needs no network.
_ANSIBLE = "https://docs.ansible.com/ansible/latest"
_ELSEWHERE = {
    "action_plugins": "plugins/action.html",
    "ansible_collections.kubernetes.core.k8s_drain_module": "collections/kubernetes/core/k8s_drain_module.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "ansible_inventory_any_unparsed_is_failed": "reference_appendices/config.html#inventory-any-unparsed-is-failed",
    "common_return_values": "reference_appendices/common_return_values.html",
}


def _elsewhere(_app: Any, _env: Any, reference: Any, text: Any) -> Any:
    """A link to Ansible's own documentation, or None for what is nowhere."""
    page = _ELSEWHERE.get(str(reference.get("reftarget")).lower())
    return page and nodes.reference("", "", text, internal=False, refuri=f"{_ANSIBLE}/{page}")


def setup(app: Any) -> dict[str, bool]:
    app.connect("missing-reference", _elsewhere)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
