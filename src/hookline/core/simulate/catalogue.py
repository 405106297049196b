"""What can be simulated: providers by name, and their samples by type. A provider's module is imported when it is
asked for."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Final

from hookline.core.simulate.draft import Provider, Sample, SimulationError

_MODULES: Final = {
    "stripe": "stripe",
    "paypal": "paypal",
    "sendgrid": "mail",
    "mailgun": "mail",
    "github": "github",
    "jira": "jira",
    "jira_connect": "jira",
    "shopify": "shops",
    "woocommerce": "shops",
    "aws_sns": "aws",
    "gcp_pubsub": "google",
    "slack": "slack",
    "discord": "discord",
    "ifttt": "automation",
    "zapier": "automation",
    "twilio": "twilio",
    "gitlab": "code_hosts",
    "bitbucket": "code_hosts",
    "linear": "code_hosts",
    "square": "payments",
    "hubspot": "hubspot",
    "zoom": "meetings",
    "docusign": "documents",
    "dropbox": "documents",
    "meta": "meta",
    "whatsapp": "meta",
    "microsoft_graph": "microsoft",
    "standard_webhooks": "standards",
    "svix": "standards",
    "cloudevents": "standards",
    "adyen": "adyen",
    "paddle": "payments",
    "typeform": "documents",
    "calendly": "meetings",
    "intercom": "support",
    "zendesk": "support",
    "razorpay": "payments",
    "braintree": "braintree",
    "xero": "accounting",
    "okta": "identity",
    "auth0": "identity",
    "salesforce": "salesforce",
    "chargebee": "accounting",
    "quickbooks": "accounting",
}
"""Name → the module of `samples` that has it in its `PROVIDERS`."""

NAMES: Final = tuple(_MODULES)
_BEHIND: Final = (".", ":", "/", "_", " ")


def provider_of(name: str) -> Provider:
    """The provider of this name. Raises `SimulationError`."""
    if name not in _MODULES:
        raise SimulationError(f"there is no provider {name!r}: there are {', '.join(NAMES)}")
    module = importlib.import_module(f"{__package__}.samples.{_MODULES[name]}")
    providers: tuple[Provider, ...] = module.PROVIDERS
    return next(provider for provider in providers if provider.name == name)


def providers() -> Iterator[Provider]:
    """All of them, in the order of the documentation."""
    return (provider_of(name) for name in NAMES)


def sample_of(provider: Provider, event_type: str) -> Sample:
    """The sample of this type; of its beginning (`pull_request` for `pull_request.opened`); or whatever differs in
    case and punctuation alone. Raises `SimulationError`."""
    for sample in provider.samples:
        if sample.type == event_type:
            return sample
    for sample in provider.samples:
        if sample.type.startswith(tuple(event_type + mark for mark in _BEHIND)):
            return sample
    for sample in provider.samples:
        if _plain(sample.type) == _plain(event_type):
            return sample
    types = ", ".join(sample.type for sample in provider.samples)
    raise SimulationError(f"there is no sample {event_type!r} of {provider.name}: there are {types}")


def _plain(text: str) -> str:
    return re.sub("[^a-z0-9]", "", text.lower())
