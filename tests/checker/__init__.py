# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A checker that trusts nobody: writes through all members, and says at the end whether anything was lost.

It knows nothing of the collection's playbooks and plugins. It reads the systems themselves and Kubernetes' own objects.
"""
