"""The request path can be read in an evening: few lines, in short files, and the page of promises says what each of them holds."""

import ast
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROXY = ROOT / "scaler" / "proxy"
PAGE = (ROOT / "docs" / "request-path.md").read_text()
PATH = re.findall(r"^\* `(\w+\.py)`: ", PAGE, re.MULTILINE)
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(source: str) -> int:
    """Lines with code on them; imports and strings that stand alone are none."""
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant(str())):
                code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


def test_what_counts_as_code() -> None:
    assert lines_of_code('"""Says\nmuch."""\n\nimport a\nfrom b import (\n    c,\n)\n\nx = [\n    1,  # one\n]\n# and\ny = 2\n') == 4


def test_the_request_path_is_small_enough_to_be_read() -> None:
    sources = {name: (PROXY / name).read_text() for name in PATH}
    assert len(PATH) == 11
    assert sum(map(lines_of_code, sources.values())) <= 1060
    assert max(source.count("\n") for source in sources.values()) <= 300


def test_the_page_names_every_file_of_the_proxy() -> None:
    assert {path.name for path in PROXY.glob("*.py")} - {"__init__.py"} == set(re.findall(r"`(\w+\.py)`", PAGE.partition("## Size")[2]))
