"""How fast a tenant may publish: a bucket for each tenant with a rate, in events; of this process, or shared with
others through the cache."""

from __future__ import annotations

from collections.abc import Mapping

from hookline.core.buckets import MakeBuckets, own, too_many
from hookline.core.endpoint import RateSpec
from hookline.core.errors import Refusal
from hookline.core.quota import burst_of
from hookline.ports.clock import Clock


class PublishRates:
    """The buckets. `rates` are those of the tenants that have one; it may change while in use."""

    def __init__(self, rates: Mapping[str, RateSpec], clock: Clock, buckets: MakeBuckets = own) -> None:
        self._rates = rates
        self._clock = clock
        self._buckets = buckets("tenants")

    def take(self, tenant: str, events: int) -> None:
        """Count all events of a request, or none of them.

        Raises `Refusal`: `rate_limited`, and `batch_too_large` when so many would never pass.
        """
        rate = self._rates[tenant]
        burst = burst_of(rate)
        if events > burst:
            raise Refusal(
                "batch_too_large",
                f"This tenant may publish {burst} events at once (a burst), and this batch has {events}: divide it.",
                extra={"events_max": burst},
            )
        wait_s = self._buckets.take(tenant, self._clock.monotonic_s() * 1000.0, rate, events)
        if wait_s:
            raise too_many(f"This tenant publishes more than {rate.n} events in {rate.per_s:g} s.", wait_s)
