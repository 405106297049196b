"""Spools: where received requests wait while the store is away."""
