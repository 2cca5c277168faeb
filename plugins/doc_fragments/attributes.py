# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes that modules of this collection declare."""

from __future__ import annotations


class ModuleDocFragment:
    # Every module. One that differs overrides `support` in its own `attributes`.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return the changed status and the diff without changing anything.
    support: full
  diff_mode:
    description: Returns what changed, or in check mode would change, when run with C(--diff).
    support: full
  idempotent:
    description: A second run with the same input and no change in between changes nothing.
    support: full
"""

    # The same as in every module; for those that name it.
    DIFF = r"""
options: {}
attributes:
  diff_mode:
    description: Returns what changed, or in check mode would change, when run with C(--diff).
    support: full
"""

    # Modules that only decide: they ask nobody and change nothing.
    DECIDING = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return the changed status and the diff without changing anything.
    support: full
    details:
      - It does the same in check mode.
  diff_mode:
    description: Returns what changed, or in check mode would change, when run with C(--diff).
    support: N/A
    details:
      - This module changes nothing.
  idempotent:
    description: A second run with the same input and no change in between changes nothing.
    support: full
"""

    # Modules whose work an action plugin does on the controller, in its own files.
    ON_CONTROLLER = r"""
options: {}
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
  bypass_host_loop:
    description: Forces a global task that does not execute per host.
    support: none
    details:
      - Use C(run_once).
  become:
    description: Is usable alongside become keywords.
    support: none
    details:
      - Files are read and written as the user who runs Ansible.
  connection:
    description: Uses the target's configured connection information to execute code on it.
    support: none
    details:
      - Nothing is executed on the target.
  delegation:
    description: Can be used in conjunction with delegate_to and related keywords.
    support: none
    details:
      - The work is done on the controller, whatever the target is.
"""

    # Modules with the option kube_clusters: those that are in the action group of meta/runtime.yml.
    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/hostnet.multicluster.hostnet) in C(module_defaults) to give O(kube_clusters) once for all modules that take it.
    support: full
    membership:
      - hostnet.multicluster.hostnet
"""
