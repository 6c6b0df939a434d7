"""Our HTML pages against a bare Django template that renders the same bytes from ready dicts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from html import unescape
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template import Context, Template

from .pages import Site
from .pairs import Figure, compare

GOAL = 2.0
MOST = 100_000
PAGES = {"starting page": "/", "training page": "/projects/1/training/"}
ROW = re.compile(r"<(?P<tag>tr|li)\b.*?</(?P=tag)>\s*", re.DOTALL)
_NAMES = "href action id title value datetime data-check data-confirm aria-label points"
VALUE = re.compile("|".join(["(?<=>)[^<]+", *(f'(?<= {name}=")[^"]*' for name in _NAMES.split())]))
"""A text between two tags, or an attribute that tells something of its subject."""

_made: dict[str, tuple[Template, Context]] = {}


def html_pages(site: Site, sizes: Sequence[int], database: str) -> Iterator[Figure]:
    """Each page at each size against its bare template, in the same site."""
    for size in (size for size in sizes if size <= MOST):
        name = f"{database}-{size}"
        site.log_in(name)
        for kind, path in PAGES.items():
            body = site.get(name, path)
            _made[kind] = bare_template(body.decode())
            if (bare := site.get(name, "/bare/page/", f"of={kind}")) != body:
                raise RuntimeError(f"{len(bare)} bytes are not the {len(body)} of {path}")
            yield compare(
                f"html, {kind}, {size:,} models",
                lambda name=name, path=path: site.get(name, path),  # type: ignore[misc]
                lambda name=name, kind=kind: site.get(name, "/bare/page/", f"of={kind}"),  # type: ignore[misc]
                goal=GOAL,
                rounds=30,
                note=f"CPU, {len(body):,} bytes",
                clock=time.process_time,
            )


def bare_page(request: HttpRequest) -> HttpResponse:
    """The bare page of that kind, for a user who is logged in."""
    if not request.user.is_authenticated:
        return HttpResponse(status=403)
    template, context = _made[request.GET["of"]]
    return HttpResponse(template.render(context))


def bare_template(body: str) -> tuple[Template, Context]:
    """The template of a page and its dicts, made of what it renders.

    Rows that follow each other are a loop. Elsewhere a value is what has a digit.
    """
    parts: list[str] = []
    page: dict[str, str] = {}
    tables: list[list[dict[str, Any]]] = []
    at = 0
    for rows in _tables(body):
        parts.append(_outside(body[at : rows[0].start()], page))
        parts.append(_loop([row[0] for row in rows], tables))
        at = rows[-1].end()
    parts.append(_outside(body[at:], page))
    return Template("".join(parts)), Context({"page": page, "tables": tables})


def _tables(body: str) -> Iterator[list[re.Match[str]]]:
    found: list[re.Match[str]] = []
    for row in ROW.finditer(body):
        if found and found[-1].end() != row.start():
            yield found
            found = []
        found.append(row)
    if found:
        yield found


def _outside(text: str, page: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if not re.search(r"\d", match[0]):
            return match[0]
        page[name := f"v{len(page)}"] = unescape(match[0])
        return f"{{{{ page.{name} }}}}"

    return VALUE.sub(value, text)


def _loop(rows: list[str], tables: list[list[dict[str, Any]]]) -> str:
    """The loop over these rows, each with the number of its form and its values."""
    forms: dict[str, int] = {}
    tables.append(table := [])
    for row in rows:
        kind = forms.setdefault(VALUE.sub("\0", row), len(forms))
        values = (unescape(value) for value in VALUE.findall(row))
        table.append({"kind": kind} | {f"v{n}": value for n, value in enumerate(values)})
    bodies = "".join(
        f"{{% {'elif' if kind else 'if'} row.kind == {kind} %}}{_form(form)}"
        for form, kind in forms.items()
    )
    return f"{{% for row in tables.{len(tables) - 1} %}}{bodies}{{% endif %}}{{% endfor %}}"


def _form(form: str) -> str:
    """The markup of rows of one form, with a variable for each value."""
    first, *others = form.split("\0")
    return first + "".join(f"{{{{ row.v{n} }}}}{text}" for n, text in enumerate(others))
