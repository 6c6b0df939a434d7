"""Counters that the database keeps: `ListedModel` and `ModelCount`, by triggers on the tables that
they are derived from, in the transaction of each change.

Their rules are compiled from the querysets that define what is registered and what serves, so that
there is one definition (law 1); each sweep recounts them.
"""
