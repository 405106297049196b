"""The way of an event: accept, route, deliver, record. Sees the core and the ports, nothing else."""
