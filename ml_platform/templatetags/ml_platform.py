"""The small parts of all templates: badges, times, links, buttons.

A table has hundreds of them. They are functions, because Django takes ten times as long to include
a template as to call one.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from django import template
from django.utils.safestring import SafeString

register = template.Library()

EXPLAINED = ("unknown", "warn", "bad")
"""Tones whose hint is also shown on focus, because not every user can hover."""
CODE_MAX = 44
"""Characters of an id or resource name that are shown; the tooltip has all of them."""


@register.filter
def cut(text: str, size: int | str = CODE_MAX) -> str:
    """A long name without its middle, because names differ at either end."""
    size = int(size or CODE_MAX)
    if len(text) <= size:
        return text
    head = (size - 1) // 2
    return f"{text[:head]}…{text[head + 1 - size :]}"


@register.simple_tag
def badge(state: Any, *, bare: bool = False) -> SafeString:
    """A state as icon, label and color; `bare` shows only the icon of a good one."""
    label, hint = escape(state.label), escape(state.hint)
    bare = bare and state.tone == "good"
    tipped = bool(hint) and state.tone in EXPLAINED
    mark = f" {escape(state.mark)}" if state.mark else ""
    title = (hint or label) if bare else "" if tipped else hint
    parts = (
        '<span class="mlp-tipped" tabindex="0">' if tipped else "",
        f'<span class="mlp-badge mlp-badge--{state.tone}{mark}"{_title(title)}>',
        f'<span class="mlp-icon" aria-hidden="true">{state.icon}</span>',
        f'<span class="mlp-hidden">{label}</span>' if bare else label,
        "</span>",
        f'<span class="mlp-hidden">: {hint}</span>{_tip(hint)}</span>' if tipped else "",
    )
    return _html("".join(parts))


@register.simple_tag
def moment(when: Any, *, form: str = "") -> SafeString:
    """A relative time with the exact one as tooltip; `form` may be `short`."""
    if not when:
        return _html("–")  # noqa: RUF001 - a dash
    shown = f' data-form="short">{when.short}' if form == "short" else f">{when.relative}"
    return _html(f'<time datetime="{when.iso}" title="{when.exact}"{shown}</time>')


@register.simple_tag
def link(of: Any, size: int, style: str = "") -> SafeString:
    """A name with its page, or without a link where it has none."""
    text, shown = escape(of.text), escape(cut(of.text, size))
    style = f' class="{style}"' if style else ""
    if not of.url:
        return _html(f'<span{style} title="{text}">{shown}</span>')
    return _html(
        f'<a{style} href="{escape(of.url)}" title="{text}" aria-label="{text}">{shown}</a>'
    )


@register.simple_tag
def code(value: str, size: int = CODE_MAX) -> SafeString:
    """An id or a resource name, to be copied by a click."""
    text = escape(value)
    return _html(
        f'<button class="mlp-copy mlp-code" type="button" data-copy="{text}" title="{text}" '
        f'aria-label="Copy {text}">{escape(cut(value, size))}</button>'
    )


@register.simple_tag
def note(text: str, word: str = "") -> SafeString:
    """A long text, all of it in its tooltip; where there is a `word`, only that is shown."""
    text = escape(text)
    shown = f'<span class="mlp-long mlp-note">{text}</span>'
    if word:
        shown = (
            f'<span class="mlp-note mlp-dotted" aria-hidden="true">{word}</span>'
            f'<span class="mlp-hidden">: {text}</span>'
        )
    return _html(f'<span class="mlp-tipped" tabindex="0">{shown}{_tip(text)}</span>')


@register.simple_tag
def metric(of: Any, common: str) -> SafeString:
    """The cell of a metric, with its name if the others of its column have another one."""
    if not of:
        return _html('<td class="mlp-num mlp-wide">–</td>')  # noqa: RUF001 - a dash
    name = escape(of.name)
    named = f'<span class="mlp-note mlp-metric-name">{name}</span> ' if of.name != common else ""
    value = f"{named}{escape(of.value)}"
    return _html(f'<td class="mlp-num" title="{name}" data-label="{name}">{value}</td>')


@register.simple_tag(takes_context=True)
def act(context: template.Context, of: Any) -> SafeString:
    """The button of an action: disabled with its reason, a link to its form, or the form itself."""
    return _html(_act(of, _csrf_field(context)))


@register.simple_tag(takes_context=True)
def acts(context: template.Context, of: Iterable[Any]) -> SafeString:
    """The buttons of a row."""
    csrf = _csrf_field(context)
    return _html(f'<div class="mlp-acts">{"".join(_act(one, csrf) for one in of)}</div>')


def _act(of: Any, csrf: str) -> str:
    name, label, css = escape(of.name), escape(of.label), f"mlp-act mlp-act--{of.tone}"
    if of.why:
        why = escape(of.why)
        return (
            f'<span class="mlp-tipped"><button class="{css}" type="button" aria-disabled="true" '
            f'aria-label="{name}: {why}">{label}</button>{_tip(why)}</span>'
        )
    if of.reason:
        url = escape(of.url)
        return f'<a class="{css}" data-plan href="{url}" aria-label="{name}">{label}</a>'
    asked = f' data-confirm="{escape(of.confirm)}"' if of.confirm else ""
    keep = f' data-keep="{escape(of.keep)}"' if of.keep else ""
    fields = "".join(_hidden(name, value) for name, value in (("key", of.key), *of.fields))
    return (
        f'<form class="mlp-do" method="post" action="{escape(of.url)}" '
        f'data-check="{escape(of.check)}"{asked}{keep}>{csrf}{fields}'
        f'<button class="{css}" type="submit" aria-label="{name}">{label}</button></form>'
    )


def _csrf_field(context: template.Context) -> str:
    """What Django's tag `csrf_token` writes."""
    return _hidden("csrfmiddlewaretoken", str(context.get("csrf_token", "")))


def _hidden(name: str, value: str) -> str:
    return f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'


def _tip(text: str) -> str:
    return f'<span class="mlp-tip" aria-hidden="true">{text}</span>'


def _title(text: str) -> str:
    return f' title="{text}"' if text else ""


def _html(text: str) -> SafeString:
    """Mark what is made here as HTML: every text from outside was escaped."""
    return SafeString(text)
