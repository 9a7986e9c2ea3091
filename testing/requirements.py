"""The requirements of docs/specification.md and the tests that show them.

Tests in Python name them in the mark `requirement`, tests in TypeScript at the end of their names, in brackets.
`python -m testing.requirements` prints the tests of each requirement.
"""

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
IN_PYTHON = re.compile(
    r"^@pytest\.mark\.requirement\((?P<numbers>[^)]*)\)$.*?^def (?P<name>\w+)\(", re.MULTILINE | re.DOTALL
)
IN_TYPESCRIPT = re.compile(r'\btest\("(?P<name>.*?(?P<numbers>(?: \[\w+-\d+\])+))", ')


def requirements() -> dict[str, str]:
    """The text of each requirement, by number."""
    specification = (ROOT / "docs" / "specification.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| \*\*(\w+-\d+)\*\* \| (.*) \|$", specification, re.MULTILINE))


def marked_tests() -> dict[str, list[str]]:
    """The paths and names of the tests, by the number of the requirement."""
    tests = defaultdict(list)
    for pattern, mark in [
        ("*/tests/test_*.py", IN_PYTHON),
        ("faults/test_*.py", IN_PYTHON),
        ("e2e/*.test.ts", IN_TYPESCRIPT),
    ]:
        for path in sorted(ROOT.glob(pattern)):
            for test in mark.finditer(path.read_text(encoding="utf-8")):
                for number in re.findall(r"\w+-\d+", test["numbers"]):
                    tests[number].append(f"{path.relative_to(ROOT)}::{test['name']}")
    return tests


if __name__ == "__main__":
    tests = marked_tests()
    for number, sentence in requirements().items():
        print(f"{number} {sentence}", *tests[number], sep="\n    ")
