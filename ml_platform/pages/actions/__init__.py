"""What a button does, and the forms that ask for a reason."""

from __future__ import annotations
