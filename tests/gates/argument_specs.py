# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role's argument specs say the same as its defaults, and describe every option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from _tree import CHECKOUT, files, finish, require


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.is_file() else None


def undescribed(options: dict[str, Any], where: str) -> list[str]:
    """Options without a description, nested ones too."""
    problems = []
    for name, option in options.items():
        if not (option or {}).get("description"):
            problems.append(f"{where}.{name}: no description")
        problems += undescribed((option or {}).get("options") or {}, f"{where}.{name}")
    return problems


def unsaid(kind: str, default: Any) -> bool:
    """Whether an option's default is a template of another type than text: no specification can say that, so its description does."""
    return kind not in ("str", "path", "raw") and isinstance(default, str) and default.startswith("{{")


def problems_of(role: Path) -> list[str]:
    name = f"roles/{role.name}"
    specs = (_load(role / "meta" / "argument_specs.yml") or {}).get("argument_specs")
    if not specs:
        return [f"{name}: no meta/argument_specs.yml with argument_specs"]
    defaults = _load(role / "defaults" / "main.yml") or {}
    problems = []
    specified: set[str] = set()
    for entry, spec in specs.items():
        where = f"{name}:{entry}"
        if not (role / "tasks" / f"{entry}.yml").is_file():
            problems.append(f"{where}: there is no tasks/{entry}.yml")
        if not (spec or {}).get("short_description"):
            problems.append(f"{where}: no short_description")
        options = (spec or {}).get("options") or {}
        specified.update(options)
        problems += undescribed(options, where)
        for option, details in options.items():
            given = "default" in (details or {})
            if given and unsaid((details or {}).get("type", "str"), details["default"]):
                problems.append(f"{where}.{option}: {details['default']!r} is no {details['type']}: say the default in its description")
            elif given and option not in defaults:
                problems.append(f"{where}.{option}: has a default that defaults/main.yml does not set")
            elif given and details["default"] != defaults[option]:
                problems.append(f"{where}.{option}: default {details['default']!r}, but defaults/main.yml has {defaults[option]!r}")
            elif not given and option in defaults and not unsaid((details or {}).get("type", "str"), defaults[option]):
                problems.append(f"{where}.{option}: no default, but defaults/main.yml has {defaults[option]!r}")
            if (details or {}).get("required") and option in defaults:
                problems.append(f"{where}.{option}: required, but defaults/main.yml sets it")
    problems += [
        f"{name}: {option} has neither the prefix hostnet_ nor {role.name}_"
        for option in sorted({*specified, *defaults})
        if not option.lstrip("_").startswith(("hostnet_", f"{role.name}_"))
    ]
    problems += [f"{name}: defaults/main.yml sets {option}, which no argument spec names" for option in defaults if option not in specified]
    return problems


def main() -> None:
    roles = sorted({CHECKOUT / "roles" / path.parts[1] for path in files("roles/*/*")})
    require(roles, "roles")
    finish([problem for role in roles for problem in problems_of(role)], f"the argument specs of {len(roles)} roles")


if __name__ == "__main__":
    main()
