import re

import pytest
from django.conf import settings

SPECIFICATION = (settings.BASE_DIR / "docs" / "specification.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| \*\*(\w+-\d+)\*\* .* \| (.*) \|$", SPECIFICATION, re.MULTILINE)


def test_every_requirement_has_a_row() -> None:
    numbers = [f"FR-{number:03}" for number in range(1, 14)] + [f"SC-{number:03}" for number in range(1, 8)]
    assert [requirement for requirement, _ in ROWS] == numbers


@pytest.mark.parametrize(("requirement", "tests"), ROWS, ids=[requirement for requirement, _ in ROWS])
def test_the_tests_of_a_requirement_are_there(requirement: str, tests: str) -> None:
    for test in tests.split("<br>"):
        path, _, name = test.strip("`").partition("::")
        definition = f'test("{name}", ' if path.endswith(".ts") else f"\ndef {name}("
        assert definition in (settings.BASE_DIR / path).read_text(encoding="utf-8")
