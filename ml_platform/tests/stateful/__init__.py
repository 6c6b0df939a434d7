"""Proofs over whole histories: invariants as code, kills at each boundary, races, mutants."""
