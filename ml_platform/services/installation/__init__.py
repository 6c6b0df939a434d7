"""Who this installation is: its uid, its marker object, and the confirmation by a person."""

from __future__ import annotations
