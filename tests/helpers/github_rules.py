"""The rules by which GitHub runs, skips and cancels, applied to workflows that nobody runs.

They are those of GitHub's documentation, the pages "Workflow syntax for GitHub Actions", "Evaluate
expressions in workflows and actions" and "Control the concurrency of workflows and jobs".
act knows neither concurrency groups nor what a skipped job of a called workflow means to others.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any

import yaml

from helpers.profiles import QUESTIONNAIRE, Answers
from helpers.rendering import Project

Workflow = Mapping[Any, Any]
# The profiles with CI on GitHub.
GITHUB_PROFILES: dict[str, Answers] = {
    name: answers
    for name, answers in QUESTIONNAIRE.profiles.items()
    if answers.get("ci", "github") == "github"
}
# A workflow without a name of its own calls this one.
_CALLED = re.compile(r"[$.]/\.github/workflows/(.*)")
_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|[\w-]+(?:\.(?:[\w-]+|\*))*|&&|\|\||[!=]=|[!(),])")
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_STATUS = re.compile(r"\b(success|failure|always|cancelled)\(")


def workflows(project: Project) -> dict[str, Any]:
    """Return GitHub's workflows of a project by their file's name, parsed."""
    paths = (project.path / ".github" / "workflows").glob("*.yml")
    return {path.name: yaml.safe_load(path.read_text()) for path in paths}


@dataclass
class Expression:
    """An expression, without `${{` and `}}`, and what it can name.

    Raises AssertionError for what these workflows do not use.
    """

    text: str
    contexts: Mapping[str, Any]
    # The values of the functions without arguments: success(), failure(), always(), cancelled().
    status: Mapping[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tokens = _TOKEN.findall(self.text)
        assert "".join(self._tokens) == re.sub(r"\s+(?=(?:[^']*'[^']*')*[^']*$)", "", self.text)

    @property
    def value(self) -> Any:
        """What it evaluates to."""
        result = self._either()
        assert not self._tokens, self._tokens
        return result

    def _take(self, *tokens: str) -> str | None:
        return self._tokens.pop(0) if self._tokens and self._tokens[0] in tokens else None

    def _either(self) -> Any:
        left = self._both()
        while self._take("||"):
            right = self._both()
            left = left or right
        return left

    def _both(self) -> Any:
        left = self._comparison()
        while self._take("&&"):
            right = self._comparison()
            left = left and right
        return left

    def _comparison(self) -> Any:
        left = self._term()
        while operator := self._take("==", "!="):
            left = _equal(left, self._term()) == (operator == "==")
        return left

    def _term(self) -> Any:
        if self._take("!"):
            return not self._term()
        if self._take("("):
            inner = self._either()
            assert self._take(")")
            return inner
        token = self._tokens.pop(0)
        if token[0] == "'":
            return token[1:-1].replace("''", "'")
        if self._take("("):
            arguments = []
            while not self._take(")"):
                arguments.append(self._either())
                self._take(",")
            return self._call(token, arguments)
        return _look_up(self.contexts, token.split("."))

    def _call(self, name: str, arguments: list[Any]) -> Any:
        if name == "contains":
            found, wanted = arguments
            return wanted in (found or [])
        assert not arguments, name
        return self.status[name]


def _look_up(value: Any, names: list[str]) -> Any:
    """Return what a dotted name has, or None; `*` stands for each item of a list."""
    for place, name in enumerate(names):
        if name == "*":
            return [_look_up(item, names[place + 1 :]) for item in value or []]
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _equal(left: Any, right: Any) -> bool:
    """Compare loosely: strings without regard to case, different types as numbers."""
    if isinstance(left, str) and isinstance(right, str):
        return left.lower() == right.lower()
    if type(left) is type(right):
        return bool(left == right)
    return _number(left) == _number(right)


def _number(value: Any) -> float:
    if isinstance(value, str):
        return float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else nan if value else 0
    return float(value or 0)


def filled_in(text: str, contexts: Mapping[str, Any]) -> str:
    """Return a text with its expressions replaced by their values."""
    return _EXPRESSION.sub(lambda m: str(Expression(m[1].strip(), contexts).value), text)


@dataclass(frozen=True)
class Simulated:
    """A run of a workflow in which each job that is started has a given result.

    `workflows` has the files by name, `github` what the context of this name has. A job that
    `results` does not name succeeds. `outputs` has those of jobs that run.
    """

    workflows: Mapping[str, Workflow]
    github: Mapping[str, Any]
    results: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def jobs(self, name: str) -> dict[str, str]:
        """Return the result of each job of a workflow, and of those of workflows that it calls."""
        done: dict[str, str] = {}
        chains: dict[str, set[str]] = {}
        jobs = self.workflows[name]["jobs"]
        while waiting := [job for job in jobs if job not in done]:
            ready = [job for job in waiting if set(_needs(jobs[job])) <= done.keys()]
            assert ready, f"jobs that wait for each other: {waiting}"
            for job in ready:
                done |= self._job(job, jobs[job], done, chains)
        return done

    def _job(
        self,
        name: str,
        job: Mapping[str, Any],
        done: Mapping[str, str],
        chains: dict[str, set[str]],
    ) -> dict[str, str]:
        # "A failure or skip applies to all jobs in the dependency chain from the point of failure or
        # skip onwards": success() looks at all of the chain.
        chain = set().union(*({need, *chains[need]} for need in _needs(job)))
        chains[name] = chain
        results = {done[other] for other in chain}
        status = {
            "success": results <= {"success"},
            "failure": "failure" in results,
            "always": True,
            "cancelled": False,
        }
        condition = str(job.get("if", "success()")).strip()
        condition = condition.removeprefix("${{").removesuffix("}}").strip()
        if not _STATUS.search(condition):
            condition = f"success() && ({condition})"
        needs = {n: {"result": done[n], "outputs": self.outputs.get(n, {})} for n in _needs(job)}
        contexts = {"github": self.github, "needs": needs}
        if not Expression(condition, contexts, status).value:
            return {name: "skipped"}
        if called := _CALLED.fullmatch(job.get("uses", "")):
            inside = {f"{name} / {j}": r for j, r in self.jobs(called[1]).items()}
            # Jobs behind a call see the skipped jobs in it, too: discussion 189172 of GitHub's
            # community, "Reusable workflows with skipped internal jobs cause dependents to be
            # auto-skipped".
            chains[name] = chain | inside.keys()
            return {**inside, name: "failure" if "failure" in inside.values() else "success"}
        return {name: self.results.get(name, "success")}


def _needs(job: Mapping[str, Any]) -> list[str]:
    needs = job.get("needs", [])
    return [needs] if isinstance(needs, str) else list(needs)


class Groups:
    """Concurrency groups: one run or job of each is in progress, and others wait.

    "Any existing pending job or workflow in the same concurrency group will be canceled and the new
    queued job or workflow will take its place", unless `queue` is `max`: "up to 100 runs can be
    pending". With `cancel-in-progress`, the one in progress is canceled, too.
    """

    def __init__(self) -> None:
        self._busy: dict[str, list[str]] = {}
        self.canceled: list[str] = []

    def enter(self, name: str, concurrency: Any, contexts: Mapping[str, Any]) -> None:
        """Let a run or a job of this name wait for its group, or start."""
        if isinstance(concurrency, str):
            concurrency = {"group": concurrency}
        group = filled_in(concurrency["group"], contexts).lower()
        inside = self._busy.setdefault(group, [])
        cancel = filled_in(str(concurrency.get("cancel-in-progress", False)), contexts) == "True"
        gone = []
        if concurrency.get("queue") != "max":
            gone = inside[0 if cancel else 1 :]
        self.canceled += gone
        self._busy[group] = [*(other for other in inside if other not in gone), name]


def concurrencies(workflows: Mapping[str, Workflow], name: str) -> Iterator[Any]:
    """Yield the `concurrency` of a workflow, of its jobs and of the workflows that it calls.

    A called workflow's own group applies, too: actionlint's issue 538.
    """
    workflow = workflows[name]
    if "concurrency" in workflow:
        yield workflow["concurrency"]
    for job in workflow["jobs"].values():
        if "concurrency" in job:
            yield job["concurrency"]
        if called := _CALLED.fullmatch(job.get("uses", "")):
            yield from concurrencies(workflows, called[1])
