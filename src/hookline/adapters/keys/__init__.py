"""Adapters of the port `keys`."""
