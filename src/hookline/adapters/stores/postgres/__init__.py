"""PostgreSQL: the store that several processes share. Needs the extra `hookline[postgres]`."""

from hookline.adapters.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
