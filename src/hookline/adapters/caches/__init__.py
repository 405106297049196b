"""Caches: memory, Redis, memcached."""
