"""Which client knows which command: found by running them, kept in a document that the next run is compared with."""

from tests.compat.clients import ROOT

DOCUMENT = ROOT / "docs" / "together-clients.md"
VERSIONS = ("1.5.35", "2.42.0")
WORKS = "works"
HEADING = """# What Together's own clients can do here

Every line is a command of the `together` program as its user types it (`together endpoints ...`, ids aside), run against the platform in
a box (`scaler emulator`). *works*: it ends with status 0 and the platform is as asked; anything else is the client's own complaint, made
before it sends a request or by the platform's refusal. Written by `make compat-table`; the tests compare every run with it.

"""


class Table:
    """Rows by command, columns by version."""

    def __init__(self, committed: str, *, rewrite: bool) -> None:
        """``committed`` is the document as it stands; with ``rewrite`` nothing is compared with it."""
        self.rewrite = rewrite
        self.committed = dict(_cells(committed))
        self._found: dict[tuple[str, str], str] = {}

    def record(self, command: str, version: str, result: str) -> None:
        """What came of a command; it must agree with the document."""
        self._found[command, version] = result
        if not self.rewrite:
            assert self.committed.get((command, version)) == result, "docs/together-clients.md disagrees; make compat-table writes it anew"

    def document(self) -> str:
        """The whole text, in the order of the run."""
        commands = dict.fromkeys(command for command, _ in self._found)
        rows = [["command", *VERSIONS], ["---"] * (1 + len(VERSIONS))]
        rows += [[f"`{command}`", *(self._found.get((command, version), "") for version in VERSIONS)] for command in commands]
        return HEADING + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(text: str) -> list[tuple[tuple[str, str], str]]:
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| `")]
    return [
        ((command.strip("`"), version), result) for command, *results in rows for version, result in zip(VERSIONS, results, strict=True)
    ]
