"""docs/waking.md: what a user of the OpenAI client sees while the endpoint wakes, written from a run, and compared with every other."""

import os
import re

from tests.compat.clients import ROOT

DOCUMENT = ROOT / "docs" / "waking.md"
MARK = re.compile(r"(<!-- (?P<name>[a-z-]+) -->\n```\w*\n)(.*?)(```\n)", re.DOTALL)
"""A block that a run fills: a comment with its name, and what is fenced below."""


def steady(text: str) -> str:
    """The text without what differs from run to run: figures, ids, and whether the start had begun when somebody asked."""
    begun = text.replace("sleeps and is called", "is starting")
    return re.sub(r"\d+(\.\d+)?", "0", re.sub(r"chatcmpl-[0-9a-f]+", "chatcmpl-0", begun))


class Page:
    """The committed page; with WAKING_PAGE=write the run is written into it instead of being compared."""

    def __init__(self) -> None:
        """As it stands."""
        self._text = DOCUMENT.read_text()
        self._rewrite = os.environ.get("WAKING_PAGE") == "write"
        self.shown: set[str] = set()

    def show(self, name: str, lines: list[str]) -> None:
        """What a run has seen in this block."""
        self.shown.add(name)
        found = "".join(f"{line}\n" for line in lines)
        blocks = {match["name"]: match for match in MARK.finditer(self._text)}
        assert name in blocks, f"docs/waking.md has no block {name}"
        start, _, committed, end = blocks[name].groups()
        if self._rewrite:
            place = slice(*blocks[name].span())
            self._text = self._text[: place.start] + start + found + end + self._text[place.stop :]
            DOCUMENT.write_text(self._text)
        else:
            assert steady(found) == steady(committed), "docs/waking.md disagrees; make waking-page writes it anew"

    @property
    def names(self) -> set[str]:
        """All blocks that a run has to fill."""
        return {match["name"] for match in MARK.finditer(self._text)}
