"""What a user may ask for, each thing once: its subject, its right, what it takes, what it does.

Pages, the API and commands all go through `perform`, so that they cannot answer differently.
"""

from __future__ import annotations
