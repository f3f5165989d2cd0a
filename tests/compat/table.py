"""Which client knows which command: found by running them, kept in a document that the next run is compared with."""

import re

from tests.compat.clients import ROOT

DOCUMENT = ROOT / "docs" / "together-clients.md"
WORKS = "works"
SILENT = "status 0, but does not show it"
CROSS = "\N{MULTIPLICATION SIGN}"
TITLE = """# What Together's own clients can do here

Every line is a command of the `together` program as its user types it, run against the platform in a box (`scaler emulator`). *works*: it
ends with status 0 and the platform is as asked; anything else is the client's own complaint, made before it sends a request or by the
platform's refusal, or a success that shows nothing of what was asked for. Written by `make compat-table`; the tests compare every run
with it.

"""
PAGE = """## The commands of v1, and who still knows them

Behind `together endpoints`; 3.1.1 speaks v2 only.

"""
OWN = """## The commands of 3.1.1

Behind `together`, with `--project` left out here; what follows a `#` is how things stand.

"""
IDS = {
    r"dep_[0-9a-f]{16}-\d+": "{etag}",
    r"dep_[0-9a-f]{16}": "{deployment}",
    r"ep_[0-9a-f]{16}": "{endpoint}",
    r"endpoint-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}": "{id}",
}


def nameless(text: str) -> str:
    """The text with kinds of ids for ids."""
    for pattern, kind in IDS.items():
        text = re.sub(pattern, kind, text)
    return text


def complaint(output: str) -> str:
    """The one line in which a client says what is wrong, without ids."""
    lines = "\n".join(line.strip() for line in output.splitlines()).replace(f"{CROSS} Error\n", "Error: ").splitlines()
    (found,) = (line.removeprefix(mark) for line in lines for mark in ("Error: ", f"{CROSS} ", "! ") if line.startswith(mark))
    return nameless(found).partition(" [")[0]  # what follows are options in no certain order


class Table:
    """Rows by command, columns by version."""

    def __init__(self, heading: str, versions: tuple[str, ...], committed: str, *, rewrite: bool) -> None:
        """``committed`` is the document as it stands; with ``rewrite`` nothing is compared with it."""
        self.versions = versions
        self.rewrite = rewrite
        self._heading = heading
        self.committed = _cells(committed.partition(heading)[2].partition("\n## ")[0], versions)
        self.found: dict[tuple[str, str], str] = {}

    def record(self, command: str, version: str, result: str) -> None:
        """What came of a command; it must agree with the document, and with the last time."""
        assert self.found.setdefault((command, version), result) == result
        if not self.rewrite:
            assert self.committed.get((command, version)) == result, "docs/together-clients.md disagrees; make compat-table writes it anew"

    def text(self) -> str:
        """Its part of the document, in the order of the run, or as it was if nothing was run."""
        cells = self.found or self.committed
        commands = dict.fromkeys(command for command, _ in cells)
        rows = [["command", *self.versions], ["---"] * (1 + len(self.versions))]
        rows += [[f"`{command}`", *(cells.get((command, version), "") for version in self.versions)] for command in commands]
        return self._heading + "".join(f"| {' | '.join(row)} |\n" for row in rows)


class Tables:
    """The whole document."""

    def __init__(self, committed: str, *, rewrite: bool) -> None:
        """As of `Table`."""
        self.page = Table(PAGE, ("1.5.35", "2.42.0", "3.1.1"), committed, rewrite=rewrite)
        self.own = Table(OWN, ("3.1.1",), committed, rewrite=rewrite)

    def document(self) -> str:
        """Its text."""
        return TITLE + self.page.text() + "\n" + self.own.text()


def _cells(text: str, versions: tuple[str, ...]) -> dict[tuple[str, str], str]:
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| `")]
    return {(command.strip("`"), version): result for command, *results in rows for version, result in zip(versions, results, strict=True)}
