"""The HTTP face: the hot publish path below the framework, the management API on it."""
