"""One small defect as data: where it goes in, and which tests have to notice it."""

from __future__ import annotations

from dataclasses import dataclass

Change = tuple[str, str] | tuple[str, str, str]
"""The old snippet, the new one, and the tests where they differ from those of the group."""


class NotApplicable(Exception):
    """The old snippet is not in its file exactly once: the product has moved on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """`old` becomes `new` in the file at `path`; one of `tests` must then fail."""

    id: str
    path: str
    """Below `ml_platform/`."""
    old: str
    new: str
    tests: tuple[str, ...]
    """As pytest takes them, below `ml_platform/tests/`."""

    def applied_to(self, source: str) -> str:
        """The file with the defect in it.

        :raises NotApplicable: the snippet is missing, stands there twice, or would not change.
        """
        found = source.count(self.old)
        if found != 1 or self.old == self.new:
            raise NotApplicable(f"{self.id}: {self.path} has its snippet {found} times, not once.")
        return source.replace(self.old, self.new)


def defects_in(path: str, tests: str, /, **changes: Change) -> tuple[Defect, ...]:
    """The defects of one module, each with an id; `tests` are separated by spaces."""
    return tuple(
        Defect(
            id=name.replace("_", "-"),
            path=path,
            old=change[0],
            new=change[1],
            tests=tuple((change[2] if len(change) == 3 else tests).split()),
        )
        for name, change in changes.items()
    )
