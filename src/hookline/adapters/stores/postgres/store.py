"""The store on PostgreSQL, put together from its parts."""

from __future__ import annotations

from hookline.adapters.stores.postgres.after_part import AfterPart
from hookline.adapters.stores.postgres.configuration_part import ConfigurationPart
from hookline.adapters.stores.postgres.history_part import HistoryPart
from hookline.adapters.stores.postgres.hot_part import HotPart
from hookline.adapters.stores.postgres.sources_part import SourcesPart
from hookline.adapters.stores.postgres.work_part import WorkPart


class PostgresStore(HotPart, ConfigurationPart, SourcesPart, HistoryPart, WorkPart, AfterPart):
    """`ports.store.Store` on PostgreSQL; see `foundation.PostgresBase`."""
