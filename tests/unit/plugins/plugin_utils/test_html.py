# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's template as HTML: what it is given is escaped, and what it is not given is an error."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from ansible_collections.hostnet.multicluster.plugins.plugin_utils import html

TEMPLATE = """\
{% macro link(to) %}<a href="#{{ to }}">{{ to }}</a>{% endmacro %}
<p title="{{ value }}">{{ value }}</p>
{{ link(value) }}
"""


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "some" / "templates").mkdir(parents=True)
    (tmp_path / "some" / "templates" / "page.j2").write_text(TEMPLATE)
    monkeypatch.setattr(html, "_ROLES", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("<b>", "&lt;b&gt;"),
        ('" onclick="x', "&#34; onclick=&#34;x"),
        ("&amp;", "&amp;amp;"),
        ("{{ 7 * 7 }}", "{{ 7 * 7 }}"),
        (None, ""),
        (["<"], "[&#39;&lt;&#39;]"),
        ("a\x00\u202eb\ud800", "a\\u0000\\u202eb\\ud800"),
    ],
)
def test_what_is_shown_is_escaped(shown: Path, value: object, text: str) -> None:
    assert html.render("some", "page.j2", {"value": value}) == f'<p title="{text}">{text}</p>\n<a href="#{text}">{text}</a>\n'


def test_what_is_not_given_is_an_error(shown: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="'value' is undefined"):
        html.render("some", "page.j2", {})


@pytest.mark.parametrize("template", sorted(html._ROLES.glob("*/templates/*.html.j2")), ids=lambda path: path.name)
def test_no_template_of_a_page_trusts_a_value(template: Path) -> None:
    parsed = jinja2.Environment(autoescape=True).parse(template.read_text())
    assert "safe" not in {used.name for used in parsed.find_all(jinja2.nodes.Filter)}
    assert not list(parsed.find_all(jinja2.nodes.EvalContextModifier))
