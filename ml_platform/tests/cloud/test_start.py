"""What the window costs before it is opened: nothing of Google."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ml_platform.cloud

WINDOW = Path(ml_platform.cloud.__file__).parent
ROOMS = sorted(
    f"ml_platform.cloud.{'.'.join(path.relative_to(WINDOW).with_suffix('').parts)}"
    for path in WINDOW.rglob("[a-z]*.py")
)
PROGRAM = """
import importlib, sys
before = set(sys.modules)  # a .pth file of Google's makes empty namespaces
for name in sys.argv[1:]:
    importlib.import_module(name)
heavy = ("google.", "grpc", "requests", "urllib3", "proto")
print([name for name in set(sys.modules) - before if name.startswith(heavy)])
"""


def test_no_module_of_the_window_imports_google_before_it_is_used():
    assert len(ROOMS) >= 14
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, *ROOMS], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
