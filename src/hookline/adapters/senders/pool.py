"""Kept connections, used again last in, first out, so that those which are not needed grow old and go."""

from __future__ import annotations

from weakref import WeakValueDictionary

from hookline.adapters.senders.connection import Connection, Idle, Key


class Pool:
    """The idle connections, bounded over all receivers. Those in use are not its business.

    Whose idle time is over is ended by `Deadlines`; here it is only not given out any more.
    """

    def __init__(self, *, idle_s_max: float, connections_max: int) -> None:
        self._idle_s_max = idle_s_max
        self._connections_max = connections_max
        self._by_key: WeakValueDictionary[Key, Idle] = WeakValueDictionary()
        self._oldest_first: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._oldest_first)

    def idle(self, key: Key) -> Idle:
        """Those of a key, to be kept at hand; the same for as long as anybody has it."""
        idle = self._by_key.get(key)
        if idle is None:
            idle = self._by_key[key] = Idle(key)
        return idle

    def take(self, idle: Idle, now_s: float) -> Connection | None:
        """A connection that can take a request now, no longer idle; None: dial one."""
        connections = idle.connections
        while connections:
            connection = connections.pop()
            del self._oldest_first[connection]
            if connection.usable(now_s):
                return connection
            connection.close()
        return None

    def give(self, connection: Connection, now_s: float) -> None:
        """Keep a connection whose answer was read, or end it where it cannot be used again."""
        if not connection.rest(now_s, self._idle_s_max) or self._connections_max == 0:
            connection.abort()
            return
        if len(self._oldest_first) >= self._connections_max:
            self.drop_oldest()
        connection.idle.connections.append(connection)
        self._oldest_first[connection] = None

    def forget(self, connection: Connection) -> None:
        """It ended by itself; nothing happens where it was not idle."""
        if connection in self._oldest_first:
            del self._oldest_first[connection]
            connection.idle.connections.remove(connection)

    def drop_oldest(self) -> None:
        """Make room: end the connection that has been idle for longest."""
        for connection in self._oldest_first:
            self.forget(connection)
            connection.close()
            return

    def close(self) -> list[Connection]:
        """End all and keep none from now on; returns them, so that their end can be waited for."""
        self._connections_max = 0
        connections = list(self._oldest_first)
        for connection in connections:
            self.forget(connection)
            connection.close()
        return connections
