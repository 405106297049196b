"""A token of an identity provider in a header: `Authorization: Bearer <JWT>`, as anybody's own scheme `jwt`.

issuer        who must have issued it; or a list
audience      whom it must be for; or a list
algorithms    those that are accepted: one or a list; default RS256, or HS256 with `secret`
keys from     `jwks_url`; or `keys`: name → PEM, or a JSON Web Key Set; or `secret` (HS256 …); else where the
              issuer's openid-configuration says (one issuer, https)
claims        optional: name → the text it must have
header        default `authorization`; another one has the token alone or after `Bearer`
leeway        s that the clocks may differ by
ttl_s_max     how far from now it may end; default a day
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from hookline.core.verifiers import jwt, jwt_keys
from hookline.core.verifiers.config import Config, ConfigError
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.verdict import Fetch, Fetched, Verdict, Verified

KEYS: Final = (
    "issuer", "audience", "algorithms", "jwks_url", "keys", "secret", "claims", "header", "leeway", "ttl_s_max",
)  # fmt: skip
JWKS: Final = "jwks"


def bearer_token(request: Inbound, header: str = "authorization", scheme: str = "bearer") -> str:
    """The token of a header. Raises `Unproven` where it is missing, there more than once, or of another scheme."""
    value = request.header(header)
    if value is None:
        raise Unproven("missing_signature", f"{header} is missing, or there more than once")
    named, _, token = value.partition(" ")
    if header != "authorization" and not token:
        return named
    if named.lower() != scheme or not token.strip():
        raise Unproven("malformed_signature", f"{header} is not of the scheme {scheme}")
    return token.strip(" ")


def leeways(config: Config) -> tuple[float, float]:
    """By how many s a token may have ended, and by how many it may not have begun: both `leeway`; where that is not
    configured none, and a minute."""
    if not config.has("leeway"):
        return 0.0, jwt.EARLY_S
    return config.seconds("leeway", 0.0), config.seconds("leeway", 0.0)


def verify(request: Inbound, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Verdict:
    """Whether the request has a good token."""
    try:
        return _verify(request, config, now_s, fetched)
    except Unproven as error:
        return error.refused


def check(config: Config) -> None:
    """Raise `ConfigError` unless everything that a request will need is configured and can be used."""
    config.texts("issuer")
    config.texts("audience")
    config.table("claims")
    config.seconds("ttl_s_max", jwt.TTL_S_MAX)
    leeways(config)
    _keys(config, {}, None)
    secrets = [one.startswith("HS") for one in _algorithms(config)]
    if not (all(secrets) if config.has("secret") else not any(secrets)):
        raise ConfigError("algorithms", "of HS256, HS384, HS512 go with secret, all others with public keys")


def _verify(request: Inbound, config: Config, now_s: float, fetched: Mapping[str, Fetched]) -> Verdict:
    token = jwt.read(bearer_token(request, config.text_or("header", "authorization").lower()))
    leeway_s, early_s = leeways(config)
    ttl_s_max = config.seconds("ttl_s_max", jwt.TTL_S_MAX)
    expected = jwt.Expected(config.texts("issuer"), config.texts("audience"), leeway_s, early_s, ttl_s_max)
    jwt.check_claims(token.claims, expected, now_s)
    for name, wanted in config.table("claims").items():
        if token.claims.get(name) != wanted:
            raise Unproven("wrong_recipient", f"the token's claim {name[:64]} is not the configured one")
    keys = _keys(config, fetched, token.kid)
    if isinstance(keys, Fetch):
        return keys
    jwt.check_signature(token, keys, _algorithms(config))
    return Verified(facts={"issuer": str(token.claims.get("iss")), "subject": str(token.claims.get("sub", ""))[:255]})


def _algorithms(config: Config) -> tuple[str, ...]:
    if not config.has("algorithms"):
        return ("HS256",) if config.has("secret") else ("RS256",)
    found = config.texts("algorithms")
    if not set(found) <= set(jwt.ALGORITHMS):
        raise ConfigError("algorithms", f"must be of {', '.join(jwt.ALGORITHMS)}")
    return found


def _keys(config: Config, fetched: Mapping[str, Fetched], kid: str | None) -> jwt_keys.Keys | Fetch:
    if config.has("secret"):
        return tuple(jwt.Key(secret.encode()) for secret in config.texts("secret"))
    if config.has("keys"):
        return _configured_keys(config)
    if config.has("jwks_url"):
        url = config.text("jwks_url")
        if not jwt_keys.is_https(url):
            raise ConfigError("jwks_url", "must be an https URL")
        return jwt_keys.fetched_keys(fetched, JWKS, url, kid, jwt_keys.keys_of_set)
    issuers = config.texts("issuer")
    if len(issuers) != 1 or not jwt_keys.is_https(issuers[0]):
        raise ConfigError("jwks_url", "or keys, or secret is needed: the issuer is not one https URL to ask")
    found = jwt_keys.discovered(fetched, issuers[0])
    if isinstance(found, Fetch):
        return found
    return jwt_keys.fetched_keys(fetched, JWKS, found, kid, jwt_keys.keys_of_set)


def _configured_keys(config: Config) -> jwt_keys.Keys:
    given = config.values.get("keys")
    if not (isinstance(given, Mapping) and isinstance(given.get("keys"), list)):
        return jwt_keys.configured("keys", config.table("keys"))
    try:
        found = jwt_keys.keys_of_set(json.dumps(given).encode())
    except (jwt_keys.KeysError, ValueError, TypeError, RecursionError):
        found = ()
    if not found:
        raise ConfigError("keys", "has no public key for signatures")
    return found
