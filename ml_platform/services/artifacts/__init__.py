"""The files of versions: the folders of runs, and the manifests of what is in them."""

from __future__ import annotations
