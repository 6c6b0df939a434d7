"""The demo as an app of its own: only hosts that list it get the `demo` command."""

from __future__ import annotations

from django.apps import AppConfig


class DemoConfig(AppConfig):
    """`ml_platform.demo` in INSTALLED_APPS."""

    name = "ml_platform.demo"
    label = "ml_platform_demo"
