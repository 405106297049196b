"""Renders a chart with Helm's own engine, in a process of its own (it brings the runtime of Go with it).

python render_chart.py CHART < [values, ...] > {"lint": {...}, "rendered": [{file: text} or {"error": text}, ...]}
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    """Read values as JSON, write what comes of them."""
    import helm_python as helm

    path = sys.argv[1]
    rendered: list[dict[str, Any]] = []
    for values in json.load(sys.stdin):
        try:
            with helm.Chart.load(path) as chart:
                rendered.append(dict(chart.render(values, name="demo", namespace="prod")))
        except helm.HelmError as error:
            rendered.append({"error": str(error)})
    json.dump({"lint": helm.lint(path), "rendered": rendered}, sys.stdout)


main()
