"""The embedded store: one file, one process, one writer."""

from __future__ import annotations

from hookline.adapters.stores.sqlite.after_part import AfterPart
from hookline.adapters.stores.sqlite.backup_part import BackupPart
from hookline.adapters.stores.sqlite.configuration_part import ConfigurationPart
from hookline.adapters.stores.sqlite.history_part import HistoryPart
from hookline.adapters.stores.sqlite.hot_part import HotPart
from hookline.adapters.stores.sqlite.sources_part import SourcesPart
from hookline.adapters.stores.sqlite.work_part import WorkPart


class SqliteStore(HotPart, ConfigurationPart, SourcesPart, HistoryPart, WorkPart, AfterPart, BackupPart):
    """`ports.store.Store` on one SQLite file; the files beside it end in `-wal`, `-shm` and `-lock`.

    See `foundation.SqliteBase` for what it takes.
    """
