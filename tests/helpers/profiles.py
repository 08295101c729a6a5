"""Profiles: sets of answers that together try each valid pair of answers, read off copier.yml.

A question or a choice that joins copier.yml joins the profiles by itself. Free text keeps its
default here; test_text.py tries it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import covertable
import yaml
from jinja2 import Environment, StrictUndefined, meta

ROOT = Path(__file__).parents[2]

Answers = dict[str, Any]
# A value for each factor.
Row = Mapping[str, str]
Pair = frozenset[tuple[str, str]]

# The question that leaves out the starter code.
ADOPT = "adopt"

# What a row holds for a question that its other answers leave out.
UNASKED = "(unasked)"

_JINJA = Environment(
    extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"], undefined=StrictUndefined
)


@dataclass(frozen=True)
class Choice:
    """One value of a question; `validator` says, with other answers, why it is disabled."""

    value: str
    validator: str = ""


@dataclass(frozen=True)
class Question:
    """A question that has a fixed set of answers: one of its choices, or several, or yes or no."""

    name: str
    choices: tuple[Choice, ...]
    multiselect: bool
    when: str

    @property
    def yes_or_no(self) -> bool:
        """Whether it is a boolean."""
        return self.choices == _YES_OR_NO

    def factor(self, choice: Choice) -> str:
        """Return the name of the factor that `choice` belongs to."""
        return f"{self.name}[{choice.value}]" if self.multiselect else self.name

    def factors(self) -> dict[str, list[str]]:
        """Return the values of each factor; an item of a multiselect is in or out by itself."""
        if self.multiselect:
            return {self.factor(choice): ["in", "out"] for choice in self.choices}
        unasked = [UNASKED] if self.when else []
        return {self.name: [choice.value for choice in self.choices] + unasked}

    def answer(self, row: Row) -> Any:
        """Return the answer that a row stands for."""
        if self.multiselect:
            return [c.value for c in self.choices if row.get(self.factor(c)) == "in"]
        return row[self.name] == "true" if self.yes_or_no else row[self.name]

    def words(self, row: Row) -> list[str]:
        """Return what tells a row's answer from others, for the name of a profile."""
        if self.multiselect:
            items: list[str] = self.answer(row)
            return items
        if self.yes_or_no:
            return [self.name] * (row[self.name] == "true")
        return [row[self.name]] * (len(self.choices) > 1 and row[self.name] != UNASKED)


_YES_OR_NO = (Choice("false"), Choice("true"))


class Questionnaire:
    """The questions of a copier.yml, and the profiles that follow from them."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Take what a copier.yml holds: Copier's settings, with an underscore, and questions."""
        self.details = {name: d for name, d in settings.items() if not name.startswith("_")}
        self.closed = [
            Question(
                name,
                _choices(details),
                multiselect=details.get("multiselect", False),
                when=str(details.get("when", "")),
            )
            for name, details in self.details.items()
            if "choices" in details or details["type"] == "bool"
        ]

    @cached_property
    def factors(self) -> dict[str, list[str]]:
        """What a row consists of: each factor's name and its values."""
        return {name: f for question in self.closed for name, f in question.factors().items()}

    @cached_property
    def rows(self) -> list[Row]:
        """Rows such that each pair of values that can go together stands in one of them.

        An adopted project has no starter code. So that no pair stands in such a one alone, the
        others have all pairs, and adopted ones come on top, each value in one of them.
        """
        factors = self.factors | ({ADOPT: ["false"]} if ADOPT in self.factors else {})
        rows: list[Row] = covertable.make(factors, constraints=list(self._constraints()))
        seen: set[tuple[str, str]] = set()
        for row in list(rows):
            if ADOPT in row and not row.items() - {(ADOPT, "false")} <= seen:
                seen |= row.items()
                rows.append({**row, ADOPT: "true"})
        return sorted(rows, key=self.name)

    @cached_property
    def profiles(self) -> dict[str, Answers]:
        """The answers of all profiles by name.

        To the covering rows come, for each framework, its defaults and the project with nothing
        switched on: corners of many answers at once, which pairs do not reach.
        """
        found = {self.name(row): self.answers(row) for row in self.rows}
        off: Answers = {q.name: [] for q in self.closed if q.multiselect}
        off |= dict.fromkeys((q.name for q in self.closed if q.yes_or_no), False)
        for framework in self.factors["framework"]:
            found[f"{framework} by default"] = {"framework": framework}
            found[f"{framework} at least"] = {"framework": framework, **off}
        return found

    def answers(self, row: Row) -> Answers:
        """Return the answers of a row, perhaps a partial one; what it leaves out is left out."""
        return {
            question.name: question.answer(row)
            for question in self.closed
            if question.multiselect or row.get(question.name, UNASKED) != UNASKED
        }

    def name(self, row: Row) -> str:
        """Return a short name of a row, for the reader of a test report."""
        return " ".join(word for question in self.closed for word in question.words(row))

    def _constraints(self) -> Iterator[dict[str, Any]]:
        """Yield copier.yml's own limits in covertable's terms."""
        for question in self.closed:
            for choice in question.choices:
                if choice.validator:
                    factor = question.factor(choice)
                    taken = "in" if question.multiselect else choice.value
                    yield self._constraint(factor, choice.validator, _unless_reason(factor, taken))
            if question.when:
                yield self._constraint(question.name, question.when, _as_asked(question.name))

    def _constraint(
        self, factor: str, template: str, holds: Callable[[Row, str], bool]
    ) -> dict[str, Any]:
        """Return a limit on `factor` by each factor that the Jinja `template` reads."""
        read = meta.find_undeclared_variables(_JINJA.parse(template))
        requires = [factor, *(name for name in self.factors if name.partition("[")[0] in read)]
        compiled = _JINJA.from_string(template)

        @cache
        def evaluate(*values: str) -> bool:
            row = dict(zip(requires, values, strict=True))
            return holds(row, compiled.render(self.answers(row)).strip())

        return {
            "operator": "fn",
            "requires": requires,
            "evaluate": lambda row: evaluate(*(row[name] for name in requires)),
        }


def _choices(details: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Return a question's choices, which Copier lets one write as a list or as a mapping."""
    if details["type"] == "bool":
        return _YES_OR_NO
    choices = details["choices"]
    if isinstance(choices, list):
        return tuple(Choice(value) for value in choices)
    return tuple(
        Choice(choice["value"], choice.get("validator", ""))
        if isinstance(choice, dict)
        else Choice(choice)
        for choice in choices.values()
    )


def _unless_reason(factor: str, taken: str) -> Callable[[Row, str], bool]:
    """Return the check that `factor` is not `taken` where a reason against it was rendered."""
    return lambda row, reason: row[factor] != taken or not reason


def _as_asked(factor: str) -> Callable[[Row, str], bool]:
    """Return the check that `factor` is unasked exactly where its condition is false."""
    return lambda row, condition: (row[factor] == UNASKED) == (condition in {"", "False", "false"})


def pairs(row: Row) -> set[Pair]:
    """Return each pair of values that stands in a row."""
    return {frozenset(pair) for pair in combinations(row.items(), 2)}


SETTINGS: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text())
QUESTIONNAIRE = Questionnaire(SETTINGS)
