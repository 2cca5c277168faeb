# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders a role's template as HTML out of values that nobody has to trust.

Not by Ansible's own templates, which escape nothing by themselves: here everything that a template shows is escaped, and what it is not given is an error.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.rollout_words import text

_ROLES = Path(__file__).parents[2] / "roles"


def render(role: str, template: str, values: Mapping[str, Any]) -> str:
    """The page that `templates/<template>` of a role makes of the values; what pages have in common is among the templates of the role report."""
    return _environment((_ROLES / role / "templates", _ROLES / "report" / "templates")).get_template(template).render(values)


@functools.cache
def _environment(folders: tuple[Path, ...]) -> Environment:
    return Environment(
        autoescape=True,
        finalize=_shown,
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _shown(value: object) -> str:
    """What the template itself made stays; everything else is text, with nothing in it that a page cannot show."""
    return value if isinstance(value, Markup) else text(value)
