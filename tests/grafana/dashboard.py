"""A Grafana dashboard as its tests see it."""

import re
from dataclasses import dataclass
from typing import Any

_METRIC = re.compile(r"\bscaler_\w+")
_LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")


@dataclass(frozen=True)
class Dashboard:
    """The classic JSON model."""

    model: dict[str, Any]

    @property
    def panels(self) -> list[dict[str, Any]]:
        """Everything that draws; rows are left out."""
        return [panel for panel in self.model["panels"] if panel["type"] != "row"]

    @property
    def variables(self) -> dict[str, dict[str, Any]]:
        return {variable["name"]: variable for variable in self.model["templating"]["list"]}

    @property
    def annotations(self) -> list[dict[str, Any]]:
        annotations: list[dict[str, Any]] = self.model["annotations"]["list"]
        return annotations

    def queries(self) -> dict[str, str]:
        """Every PromQL expression, by a name for people."""
        panels = {f"{panel['title']} {target['refId']}": target["expr"] for panel in self.panels for target in panel["targets"]}
        return panels | {f"annotation {annotation['name']}": annotation["expr"] for annotation in self.annotations}

    def label_queries(self) -> dict[str, tuple[str, str]]:
        """Of each query variable: the series it looks at, and the label whose values it takes."""
        found = {}
        for name, variable in self.variables.items():
            if variable["type"] == "query":
                match = _LABEL_VALUES.fullmatch(variable["query"]["query"])
                assert match, name
                found[name] = (match["selector"], match["label"])
        return found

    def metrics(self) -> set[str]:
        """Every metric that is named in a query."""
        texts = [*self.queries().values(), *(selector for selector, _ in self.label_queries().values())]
        return {name for text in texts for name in _METRIC.findall(text)}


def metrics_in(text: str) -> set[str]:
    """The metrics that a text names."""
    return set(_METRIC.findall(text))
