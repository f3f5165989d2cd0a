"""The report as one HTML file: nothing is loaded from anywhere, and equal results are equal bytes."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import scaler
from scaler.backtest.options import Options
from scaler.backtest.report import story
from scaler.backtest.report.sleep_story import SleepStory
from scaler.backtest.report.story import Story
from scaler.backtest.rows import Played, span_of


def page(runs: Sequence[Played], options: Options) -> str:
    """Everything that was played, for people."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    groups = groupby(runs, key=lambda one: (one.result.row.trace, one.result.row.cold_start_seconds))
    stories = [_story(list(group), options) for _, group in groups]
    return environment.get_template("page.html.j2").render(
        stories=stories, options=options, version=scaler.__version__, box=story, span_of=span_of
    )


def _story(runs: list[Played], options: Options) -> Story:
    each = tuple(one for one in runs if one.result.row.client is not None)
    if not each:
        return Story(runs, options.warm_up_seconds, options.price, options.objective)
    together = [one for one in runs if one.result.row.client is None]
    return SleepStory(together, options.warm_up_seconds, options.price, options.warm_share or options.objective, each=each)
