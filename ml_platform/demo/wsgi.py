"""The demo host as a WSGI application that serves its static files itself, with DEBUG off too."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ml_platform.demo.settings")

application = StaticFilesHandler(get_wsgi_application())
