"""The embedded store: one file, one writer thread, shared commits."""
