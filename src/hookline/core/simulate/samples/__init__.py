"""Providers with their samples: each module has `PROVIDERS`."""
