"""What a copy costs, beside a copy of a small template, and by the number of files that it writes."""

import math
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from helpers.git_repositories import Repository, template_repository
from helpers.host_python import environment
from helpers.profiles import QUESTIONNAIRE

ROUNDS = 5
FRAMEWORKS = QUESTIONNAIRE.factors["framework"]

# How often as much as a copy of the small template a copy of this one may take: what was reached,
# and a tenth on top for other machines. Whoever makes a copy quicker lowers them.
LIMITS = {"compiled": 2.3, "uncompiled": 2.1}

COPIER = str(Path(sys.prefix, "bin", "copier"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "wait4"), reason="no os.wait4 to ask what a process took"),
]


@pytest.fixture(scope="module")
def clone(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's clone of the template's first release."""
    folder = tmp_path_factory.mktemp("speed")
    repository = template_repository(template, folder / "slipway")
    repository.git("clone", "--quiet", ".", str(folder / "clone"))
    return Repository(folder / "clone").path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template of the size of simple-modern-uv: 20 plain files, a few of them in folders."""
    folder = tmp_path_factory.mktemp("small")
    source = folder / "source"
    (source / "template" / "src").mkdir(parents=True)
    (source / "copier.yml").write_text("_subdirectory: template\nname:\n  default: small\n")
    (source / "template" / "{{ _copier_conf.answers_file }}.jinja").write_text(
        "{{ _copier_answers | to_nice_yaml -}}\n"
    )
    for number in range(20):
        place = source / "template" / ("src" if number % 4 == 0 else "")
        (place / f"file{number}.txt").write_text("A line of text.\n" * 100)
    return template_repository(source, folder / "small").path


@pytest.fixture(params=LIMITS)
def variables(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose modules are compiled already, or each time anew.

    The first is what an installation is from its second start on, the second what it stays where
    PYTHONDONTWRITEBYTECODE is set, as in many containers: there Python's own modules are compiled,
    and those of Copier and its dependencies are not.
    """
    # A place of its own for bytecode: other tests may compile this installation meanwhile.
    bytecode = tmp_path / "bytecode"
    variables = environment({"PYTHONPYCACHEPREFIX": str(bytecode)})
    if request.param == "uncompiled":
        seconds([COPIER, "--version"], tmp_path, variables)
        shutil.rmtree(bytecode / Path(sysconfig.get_path("purelib")).relative_to("/"))
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
    return variables


def seconds(command: list[str], folder: Path, variables: dict[str, str]) -> float:
    """Run a command and return the CPU time that it and its children took.

    Unlike the time on the clock it hardly depends on what else the machine does; on a quiet one
    the two are the same. Raises AssertionError with the output when the command fails.
    """
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (folder / "log").read_text()
    return usage.ru_utime + usage.ru_stime


def test_a_copy_does_not_become_slower(
    clone: Path, small: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    make = [COPIER, "copy", "--defaults"]
    commands = {
        name: [*make, "-d", f"framework={name}", str(clone), "project"] for name in FRAMEWORKS
    }
    commands["small"] = [*make, str(small), "project"]
    # What each took at best, in seconds: other work on the machine only ever adds.
    best = dict.fromkeys(commands, math.inf)
    files = dict.fromkeys(commands, 0)

    def measure(rounds: int) -> dict[str, float]:
        """Run all commands in turn and return how many copies of the small one each takes."""
        for _ in range(rounds):
            for name, command in commands.items():
                best[name] = min(best[name], seconds(command, tmp_path, variables))
                files[name] = sum(path.is_file() for path in (tmp_path / "project").rglob("*"))
                shutil.rmtree(tmp_path / "project")
        return {name: round(best[name] / best["small"], 2) for name in FRAMEWORKS}

    limit = LIMITS["uncompiled" if "PYTHONDONTWRITEBYTECODE" in variables else "compiled"]
    found = measure(1 + ROUNDS)
    if max(found.values()) > limit:
        found = measure(ROUNDS)
    figures = "; ".join(
        f"{name} {best[name]:.2f} s, {files[name]} files, "
        f"{1000 * best[name] / files[name]:.0f} ms a file, {best[name] / best['small']:.2f}"
        for name in commands
    )
    print(figures)
    assert max(found.values()) <= limit, figures
