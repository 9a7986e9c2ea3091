from testing.requirements import marked_tests, requirements


def test_the_requirements_are_those_of_the_specifications() -> None:
    numbers = [f"FR-{number:03}" for number in range(1, 14)] + [f"SC-{number:03}" for number in range(1, 8)]
    assert list(requirements()) == numbers


def test_every_requirement_has_a_test_and_every_mark_names_a_requirement() -> None:
    assert marked_tests().keys() == requirements().keys()
