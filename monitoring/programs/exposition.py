"""Write measurements as Prometheus reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping


def rendered(measurements: Iterable[tuple[str, dict[str, str], float]], described: Mapping[str, str]) -> str:
    """Write measurements as text, those of one name together, with what it is. Pure."""
    rows: dict[str, list[str]] = {}
    for name, labels, value in measurements:
        words = ",".join(f"{key}={json.dumps(text, ensure_ascii=False)}" for key, text in labels.items())
        rows.setdefault(name, []).append(f"{name}{{{words}}} {float(value):.15g}")
    kinds = {name: "counter" if name.endswith(("_total", "_bucket")) else "gauge" for name in rows}
    heads = {name: f"# HELP {name} {described[name]}\n# TYPE {name} {kinds[name]}\n" for name in rows}
    return "".join(heads[name] + "\n".join(lines) + "\n" for name, lines in rows.items())
