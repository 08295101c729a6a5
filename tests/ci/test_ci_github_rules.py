"""GitHub's workflows under GitHub's own rules: what runs, what is skipped, what is canceled."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from helpers.github_rules import (
    GITHUB_PROFILES,
    Expression,
    Groups,
    Simulated,
    Workflow,
    concurrencies,
    workflows,
)
from helpers.profiles import Answers
from helpers.rendering import Render

LANES = ("lint", "typecheck", "test", "container")
RESULTS = ("success", "failure", "cancelled")


def started_by(files: Mapping[str, Workflow], event: str) -> str:
    """Return the name of the one workflow that an event of checks or of publishing starts."""
    [name] = [n for n, w in files.items() if event in w[True] and n != "template.yml"]
    return name


def last(results: Mapping[str, str], job: str) -> str:
    """Return the result of a job, also where a called workflow has it."""
    [found] = [r for name, r in results.items() if name.split(" / ")[-1] == job]
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b == 'X'", True),
        ("a.c == ''", True),
        ("a.c != '' || a.b == 'y'", False),
        ("!success() && a.b == 'x' || a.b", "x"),
        ("contains(a.l.*.n, 'two') && (a.c == 'x' || 'it''s')", "it's"),
    ],
)
def test_expressions(text: str, value: Any) -> None:
    contexts = {"a": {"b": "x", "l": [{"n": "one"}, {"n": "two"}]}}
    assert Expression(text, contexts, {"success": True}).value == value


def test_a_skip_reaches_all_jobs_behind_it() -> None:
    jobs = {
        "a": {"if": "github.x == 'y'"},
        "b": {"needs": "a", "if": "always()"},
        "c": {"needs": ["b"]},
        "d": {"needs": ["b"], "if": "${{ !cancelled() }}"},
    }
    called = {"jobs": {"call": {"uses": "$/.github/workflows/w"}, "e": {"needs": "call"}}}
    simulated = Simulated({"w": {"jobs": jobs}, "caller": called}, {})
    results = {"a": "skipped", "b": "success", "c": "skipped", "d": "success"}
    assert simulated.jobs("w") == results
    assert simulated.jobs("caller")["call"] == "success"
    assert simulated.jobs("caller")["e"] == "skipped"


def test_groups() -> None:
    group = {"group": "x", "queue": "max"}
    for concurrency, canceled in (
        ("x", ["b"]),
        ({"group": "x", "cancel-in-progress": True}, ["a", "b"]),
        (group, []),
    ):
        groups = Groups()
        for name in "abc":
            groups.enter(name, concurrency, {})
        assert groups.canceled == canceled


@pytest.mark.parametrize("answers", GITHUB_PROFILES.values(), ids=GITHUB_PROFILES)
def test_what_passed_its_checks_is_published(answers: Answers, render: Render) -> None:
    """And nothing else: on a push, if each check that it should have had has succeeded."""
    files = workflows(render(**answers))
    github = {"event_name": "push", "event": {}}
    full = {"plan": {"speed": "full", "published": ""}}
    there = {"plan": {"speed": "none", "published": "sha256:0"}}
    lanes = [lane for lane in ("plan", *LANES) if lane in files["ci.yml"]["jobs"]]
    for outputs in full, there:
        checks = [c for c in lanes if c != "test"] if outputs is full else ["plan"]
        for results in itertools.product(RESULTS, repeat=len(checks)):
            given = dict(zip(checks, results, strict=True))
            ran = Simulated(files, github, given, outputs)
            # A job that checks for failures fails.
            for _ in range(2):
                found = ran.jobs(started_by(files, "push"))
                seen = [last(found, lane) for lane in lanes]
                if {"failure", "cancelled"} & set(seen):
                    given["required"] = "failure"
            passed = set(results) == {"success"}
            assert (last(found, "publish") == "success") == passed, given
    assert last(found, "lint") == "skipped"


@pytest.mark.parametrize("event", ["pull_request", "merge_group"])
@pytest.mark.parametrize("speed", ["none", "fast", "full"])
def test_no_change_that_waits_is_published(event: str, speed: str, render: Render) -> None:
    """Its jobs get no permission to write, and a change of documents has no lane."""
    files = workflows(render())
    ran = Simulated(files, {"event_name": event}, {}, {"plan": {"speed": speed, "published": ""}})
    results = ran.jobs(started_by(files, event))
    assert results.get("publish", "skipped") == "skipped"
    assert results["required"] == "success"
    lanes = {"none": set(), "fast": {"lint", "typecheck", "test"}}
    expected = lanes.get(speed, {"lint", "typecheck", "container"})
    assert {job for job in LANES if results[job] == "success"} == expected


def test_no_publication_is_lost_to_another(render: Render) -> None:
    """Three commits and three tags come at once, two of the tags on one commit."""
    files = workflows(render())
    refs = {"main": ["1", "2", "3"], "v1": ["1"], "v1.0": ["1"], "v2": ["3"]}
    pushed = [(ref, commit) for ref, commits in refs.items() for commit in commits]
    groups = Groups()
    for run, (ref, commit) in enumerate(pushed):
        event: dict[str, Any] = {"event_name": "push", "event": {}}
        github = event | {"ref": f"refs/{ref}", "sha": commit, "run_id": run}
        for place, concurrency in enumerate(concurrencies(files, started_by(files, "push"))):
            groups.enter(f"{ref} {commit} {place}", concurrency, {"github": github})
    assert groups.canceled == []


def test_a_newer_commit_of_a_pull_request_takes_over(render: Render) -> None:
    files = workflows(render())
    groups = Groups()
    for run in range(2):
        event = {"pull_request": {"number": 7}}
        github = {"event_name": "pull_request", "event": event, "run_id": run, "sha": str(run)}
        groups.enter(str(run), files["ci.yml"]["concurrency"], {"github": github})
    assert groups.canceled == ["0"]


def test_a_label_starts_and_cancels_nothing(render: Render) -> None:
    """By default, `pull_request` is: opened, synchronize, reopened."""
    for name, workflow in workflows(render()).items():
        types = (workflow[True].get("pull_request") or {}).get("types", [])
        assert "labeled" not in types, name
