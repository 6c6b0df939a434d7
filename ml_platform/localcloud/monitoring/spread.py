"""Distributions that keep their percentiles: pieces of evenly spread samples."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from google.api import distribution_pb2

Piece = tuple[float, float, float]  # from, to, how many samples lie evenly between


class Spread:
    """A few even pieces; merging keeps them all, so that percentiles stay exact."""

    def __init__(self, pieces: Iterable[Piece] = ()) -> None:
        self.pieces = [piece for piece in pieces if piece[2] > 0]

    @classmethod
    def of(cls, count: float, p50: float, p95: float, p99: float) -> Spread:
        """`count` samples with these three percentiles."""
        points = (0.0, p50, p95, p99, p99 * 1.2)
        shares = (0.50, 0.45, 0.04, 0.01)
        return cls(
            (low, high, count * share)
            for low, high, share in zip(points, points[1:], shares, strict=False)
        )

    def __add__(self, other: Spread) -> Spread:
        return Spread(self.pieces + other.pieces)

    @property
    def count(self) -> float:
        """How many samples there are."""
        return sum(piece[2] for piece in self.pieces)

    @property
    def mean(self) -> float:
        """0.0 without samples."""
        total = sum((low + high) / 2 * count for low, high, count in self.pieces)
        return total / self.count if self.pieces else 0.0

    def below(self, value: float) -> float:
        """How many samples are at most `value`."""
        return sum(
            count * (1.0 if value >= high else max(0.0, (value - low) / (high - low)))
            for low, high, count in self.pieces
        )

    def percentile(self, percent: float) -> float:
        """The value below which that share of the samples lies; 0.0 without samples."""
        if not self.pieces:
            return 0.0
        wanted = self.count * percent / 100
        edges = self.edges()
        for low, high in pairwise(edges):
            under, upto = self.below(low), self.below(high)
            if upto >= wanted:
                share = (wanted - under) / (upto - under) if upto > under else 0.0
                return round(low + (high - low) * max(0.0, share), 6)
        return edges[-1]

    def edges(self) -> list[float]:
        """All ends of pieces, ascending."""
        return sorted({edge for piece in self.pieces for edge in piece[:2]})

    def message(self) -> Any:
        """The same as google.api.Distribution, with a bucket between each two edges."""
        edges = self.edges()
        marks = [round(self.below(edge)) for edge in edges]
        message = distribution_pb2.Distribution(count=round(self.count), mean=self.mean)
        message.bucket_options.explicit_buckets.bounds.extend(edges)
        message.bucket_counts.append(0)
        message.bucket_counts.extend(b - a for a, b in pairwise(marks))
        return message
