"""The JSON door: every path below /api/, its contract, its errors and who may pass."""
