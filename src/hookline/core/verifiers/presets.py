"""The presets by name. A provider's module is imported when its name is asked for, and not before."""

from __future__ import annotations

import importlib
from typing import Final

from hookline.core.verifiers.preset import Preset

_MODULES: Final = {
    "stripe": "payments",
    "paypal": "paypal",
    "sendgrid": "mail",
    "mailgun": "mailgun",
    "github": "code_hosts",
    "jira": "code_hosts",
    "jira_connect": "jira_connect",
    "shopify": "shops",
    "woocommerce": "shops",
    "aws_sns": "aws_sns",
    "gcp_pubsub": "gcp_pubsub",
    "slack": "chats",
    "discord": "discord",
    "ifttt": "static_presets",
    "zapier": "static_presets",
    "twilio": "twilio",
    "gitlab": "code_hosts",
    "bitbucket": "code_hosts",
    "linear": "code_hosts",
    "square": "payments",
    "hubspot": "hubspot",
    "zoom": "chats",
    "docusign": "documents",
    "dropbox": "documents",
    "meta": "meta",
    "whatsapp": "meta",
    "microsoft_graph": "microsoft_graph",
    "standard_webhooks": "standard_webhooks",
    "svix": "standard_webhooks",
    "cloudevents": "cloudevents",
    "adyen": "adyen",
    "paddle": "payments",
    "typeform": "documents",
    "calendly": "documents",
    "intercom": "chats",
    "zendesk": "chats",
    "razorpay": "payments",
    "braintree": "braintree",
    "xero": "accounting",
    "okta": "static_presets",
    "auth0": "static_presets",
    "salesforce": "salesforce",
    "chargebee": "static_presets",
    "quickbooks": "accounting",
}
"""Name → the module beside this one that has it, as its `PRESET` or as one of its `PRESETS`."""

NAMES: Final = tuple(_MODULES)
"""Every preset, in the order of the documentation."""

_found: dict[str, Preset] = {}


def preset(name: str) -> Preset:
    """The preset of this name. Raises `KeyError` for an unknown one."""
    known = _found.get(name)
    if known is None:
        module = importlib.import_module(f"{__package__}.{_MODULES[name]}")
        presets: tuple[Preset, ...] = module.PRESETS if hasattr(module, "PRESETS") else (module.PRESET,)
        _found.update((one.name, one) for one in presets)
        known = _found[name]
    return known
