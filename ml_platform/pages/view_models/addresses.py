"""The addresses of rows: a page has hundreds, which differ only in the key."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote

from django.urls import URLResolver, get_resolver, get_script_prefix, get_urlconf, reverse
from django.utils.translation import get_language

SAMPLE = "987654321"
"""A key that every pattern of a row takes."""


def url_of(name: str, key: object, *before: str) -> str:
    """The address of that name for a key, which is its last argument."""
    place = get_resolver(get_urlconf()), get_script_prefix(), get_language()
    head, tail = _around(*place, name, before)
    return f"{head}{key if isinstance(key, int) else quote(str(key), safe='/~:@!$&*()+,;=')}{tail}"


@lru_cache(maxsize=256)
def _around(
    resolver: URLResolver, prefix: str, language: str | None, name: str, before: tuple[str, ...]
) -> tuple[str, str]:
    """What stands before and behind a key; a host may mount us by language."""
    head, _, tail = reverse(f"ml_platform:{name}", args=[*before, SAMPLE]).rpartition(SAMPLE)
    return head, tail
