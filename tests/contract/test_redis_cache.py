"""The cache on Redis keeps the promise of the port, with a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.servers.valkey import Valkey, serving

from hookline.adapters.caches.redis import RedisCache
from hookline.ports.cache import CacheUnavailable
from hookline.testing.cache_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.cache_contract import TTL_S, Wait, new_key
