"""The profiles leave out no pair of answers that can go together, and only those."""

from itertools import combinations, product
from pathlib import Path

import pytest

from helpers.profiles import QUESTIONNAIRE, SETTINGS, UNASKED, Pair, Questionnaire, pairs
from helpers.rendering import refusal

# Each pair that cannot be, and the question and the reason by which Copier refuses it. The rest
# is computed from copier.yml; this list is written by hand, so that a condition there that
# forbids too much is noticed.
FORBIDDEN = {
    ("framework", "django", "database", "none"): ("database", "Django needs one"),
    ("framework", "fastapi", "database", "sqlite"): ("database", "with Django only"),
    ("framework", "job", "database", "sqlite"): ("database", "with Django only"),
    ("base_image", "debian", "python_source", "image"): ("python_source", "with slim only"),
    ("base_image", "ubuntu", "python_source", "image"): ("python_source", "with slim only"),
    ("base_image", "cuda", "python_source", "image"): ("python_source", "with slim only"),
    ("base_image", "slim", "python_source", "managed"): ("python_source", "slim brings its own"),
    ("base_image", "slim", "python_source", "apt"): ("python_source", "with Ubuntu only"),
    ("base_image", "debian", "python_source", "apt"): ("python_source", "with Ubuntu only"),
    ("base_image", "cuda", "python_source", "apt"): ("python_source", "with Ubuntu only"),
    ("python_version", "3.13", "python_source", "apt"): (
        "python_source",
        "Ubuntu LTS has 3.12 and 3.14",
    ),
    ("base_image", "slim", "accelerator", "torch"): ("accelerator", "with CUDA only"),
    ("base_image", "debian", "accelerator", "torch"): ("accelerator", "with CUDA only"),
    ("base_image", "ubuntu", "accelerator", "torch"): ("accelerator", "with CUDA only"),
    ("python_source", "image", "accelerator", "torch"): ("accelerator", "with CUDA only"),
    ("python_source", "apt", "accelerator", "torch"): ("python_source", "with Ubuntu only"),
    ("ci", "gitlab", "update_bot", "dependabot"): ("update_bot", "with GitHub only"),
    ("ci", "none", "update_bot", "dependabot"): ("update_bot", "with GitHub only"),
}


def missing(questionnaire: Questionnaire) -> set[Pair]:
    """Return each pair of values that stands in no row, whatever forbids it."""
    every = {
        frozenset({(one, value), (other, other_value)})
        for (one, values), (other, other_values) in combinations(questionnaire.factors.items(), 2)
        for value, other_value in product(values, other_values)
    }
    return every - set().union(*(pairs(row) for row in questionnaire.rows))


def test_no_valid_pair_is_missing() -> None:
    assert missing(QUESTIONNAIRE) == {frozenset({(a, b), (c, d)}) for a, b, c, d in FORBIDDEN}


def test_each_row_has_a_name_of_its_own() -> None:
    corners = 2 * len(QUESTIONNAIRE.factors["framework"])
    assert len(QUESTIONNAIRE.profiles) == len(QUESTIONNAIRE.rows) + corners


def test_new_questions_join_by_themselves() -> None:
    red_only = "{% if 'docs' in dependency_groups %}with red only{% endif %}"
    blue = {"value": "blue", "validator": red_only}
    colour = {"type": "str", "choices": {"Red": "red", "Blue": blue}}
    shade = {"type": "bool", "when": "{{ colour == 'blue' }}"}
    grown = Questionnaire({**SETTINGS, "colour": colour, "shade": shade})
    assert missing(grown) - missing(QUESTIONNAIRE) == {
        frozenset({("colour", "blue"), ("dependency_groups[docs]", "in")}),
        frozenset({("colour", "blue"), ("shade", UNASKED)}),
        frozenset({("colour", "red"), ("shade", "false")}),
        frozenset({("colour", "red"), ("shade", "true")}),
        frozenset({("dependency_groups[docs]", "in"), ("shade", "false")}),
        frozenset({("dependency_groups[docs]", "in"), ("shade", "true")}),
    }


@pytest.mark.parametrize("pair", FORBIDDEN, ids=" ".join)
def test_copier_refuses_what_cannot_be(
    pair: tuple[str, str, str, str], template: Path, tmp_path: Path
) -> None:
    one, value, other, other_value = pair
    answers = {one: value, other: other_value}
    assert refusal(template, tmp_path / "project", answers) == FORBIDDEN[pair]
