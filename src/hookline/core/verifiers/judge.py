"""The one way into every verifier: whatever arrives, there is a verdict; nothing is ever raised."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from hookline.core.verifiers.config import Config, ConfigError
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.preset import Preset
from hookline.core.verifiers.verdict import Fetched, Refused, Verdict

NOTHING_FETCHED: Final[Mapping[str, Fetched]] = MappingProxyType({})


def judge(
    preset: Preset,
    request: Inbound,
    config: Mapping[str, Any],
    now_s: float,
    fetched: Mapping[str, Fetched] = NOTHING_FETCHED,
) -> Verdict:
    """What `preset` says of `request` at `now_s` (s since 1970), configured by `config`.

    A `Fetch` is answered by another call with what came of it in `fetched`, under its name. A method the preset does
    not have is `unsupported` with status 405; a source that allows other methods gives a preset that has them. What a
    request needs and the configuration lacks is `not_configured`; a failure of the verifier itself is `defect`.
    """
    if request.method not in preset.methods:
        return Refused("unsupported", f"the method is not one of {', '.join(preset.methods)}", status=405)
    try:
        return preset.verify(request, Config(config), now_s, fetched)
    except ConfigError as error:
        return Refused("not_configured", str(error))
    except Exception as error:  # noqa: BLE001 - a forger who finds a defect of ours must find a refusal behind it
        return Refused("defect", f"{type(error).__name__} in the verifier of {preset.name}")
