"""The JSON API: every path below /api/, its contract, its errors and its authentication."""
