"""Projects take updates of the template without losing what their owners wrote."""

import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from copier.errors import UnsafeTemplateError
from history import TemplateRepository, TrackedProject, template_repository
from interpreters import environment, require_python
from profiles import QUESTIONNAIRE, SETTINGS, Answers
from rendering import ANSWERS_FILE

FRAMEWORKS = QUESTIONNAIRE.factors["framework"]
PYPROJECT = "pyproject.toml"
TEMPLATE_PYPROJECT = "template/pyproject.toml.jinja"
# Where uv puts what it adds depends on the alphabet where a list is sorted, else it goes last.
ADDED = ("aiohttp", "celery", "redis", "zstandard")
EVERY_GROUP = {"dependency_groups": ["test", "quality", "dev", "docs"]}
# The comment that ends the template's part of a list of dependencies.
YOURS = re.compile(r"    # Yours: .*\n")

MakeProject = Callable[..., TrackedProject]


@pytest.fixture(autouse=True)
def no_trust(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of this machine's user, who may trust the folder of the tests."""
    settings = tmp_path_factory.mktemp("settings") / "settings.yml"
    settings.write_text("{}\n")
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(settings))


@pytest.fixture
def releases(template: Path, tmp_path: Path) -> TemplateRepository:
    """The working tree as a template's first release."""
    return template_repository(template, tmp_path / "slipway")


@pytest.fixture
def make(releases: TemplateRepository, tmp_path: Path) -> MakeProject:
    """A function that makes a project of some answers from the newest release.

    The project's folder and so its names are the same each time.
    """
    made = 0

    def make(**answers: Any) -> TrackedProject:
        nonlocal made
        made += 1
        return releases.copy(tmp_path / str(made) / "my-service", answers)

    return make


def uv_add(project: TrackedProject, name: str, *options: str) -> None:
    """Let uv add a dependency, without asking the index which versions there are."""
    command = ["uv", "add", "--quiet", "--frozen", "--offline", *options, name]
    subprocess.run(command, cwd=project.path, env=environment(), check=True)


def dependency_lists(pyproject: str) -> dict[str, str]:
    """Return the lines of each list of dependencies: `dependencies` and the groups, by name."""
    lists = dict(re.findall(r"^([\w-]+) = \[\n((?:    .*\n)*)\]", pyproject, re.MULTILINE))
    groups = tomllib.loads(pyproject)["dependency-groups"]
    return {name: lists[name] for name in ("dependencies", *groups)}


def add_to_every_list(project: TrackedProject) -> int:
    """Let uv add dependencies to each list, and return how many it added.

    A list of one dependency is always in order: a second addition that belongs right before it
    can stand nowhere else, so such a list gets one.
    """
    count = 0
    for name, lines in dependency_lists(project.read(PYPROJECT)).items():
        group = [] if name == "dependencies" else ["--group", name]
        names = ADDED if lines.count('    "') > 1 else ADDED[:1]
        for added in names:
            uv_add(project, added, *group)
        count += len(names)
    return count


def bump_every_dependency(releases: TemplateRepository) -> None:
    """Change the range of each dependency in the template, and what there is to install in none."""
    text = releases.read(TEMPLATE_PYPROJECT)
    bumped, count = re.subn(
        r"((?:~=|>=)[\d.]+(?:,<\d+)?)(\",?)$", r"\1,!=0\2", text, flags=re.MULTILINE
    )
    assert count > 10
    releases.write(TEMPLATE_PYPROJECT, bumped)


def append_to_every_list(releases: TemplateRepository) -> None:
    """Let the template add a dependency at the end of its part of each list."""
    text = releases.read(TEMPLATE_PYPROJECT)
    releases.write(TEMPLATE_PYPROJECT, YOURS.sub(r'    "tenacity~=9.0",\n\g<0>', text))


def drop_structlog(releases: TemplateRepository) -> None:
    """Let the template do without one of its dependencies."""
    text = releases.read(TEMPLATE_PYPROJECT)
    assert '"structlog' in text
    releases.write(TEMPLATE_PYPROJECT, re.sub(r'    "structlog.*\n', "", text))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_without_changes_only_the_release_is_recorded(
    releases: TemplateRepository, make: MakeProject, framework: str
) -> None:
    project = make(framework=framework)
    project.update()
    assert project.changes == []
    releases.release("v1.1.0")
    project.update()
    assert project.changes == [f" M {ANSWERS_FILE}"]
    changed = project.git("diff", "--unified=0").splitlines()[-2:]
    assert changed == ["-_commit: v1.0.0", "+_commit: v1.1.0"]


def test_a_template_that_needs_trust_is_noticed(
    releases: TemplateRepository, make: MakeProject
) -> None:
    project = make()
    releases.write("copier.yml", releases.read("copier.yml") + "\n_tasks: ['true']\n")
    releases.release("v1.1.0")
    with pytest.raises(UnsafeTemplateError):
        project.update()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_uv_add_keeps_off_the_templates_lines(make: MakeProject, framework: str) -> None:
    """Between a line of the template and one of the user stands a comment at the least."""
    project = make(framework=framework, **EVERY_GROUP, python_version=require_python().version)
    before = dependency_lists(project.read(PYPROJECT))
    assert all(YOURS.search(lines) for lines in before.values())
    add_to_every_list(project)
    for name, lines in dependency_lists(project.read(PYPROJECT)).items():
        theirs = before[name]
        assert theirs in lines, f"{name} is torn apart:\n{lines}"
        above, below = lines.split(theirs)
        assert not above or theirs.startswith("    #"), f"{name}:\n{lines}"
        assert not below or theirs.splitlines()[-1].startswith("    #"), f"{name}:\n{lines}"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_added_dependencies_merge_with_the_templates(
    releases: TemplateRepository, make: MakeProject, framework: str
) -> None:
    answers = {"framework": framework, **EVERY_GROUP, "python_version": require_python().version}
    project = make(**answers)
    count = add_to_every_list(project)
    bump_every_dependency(releases)
    append_to_every_list(releases)
    drop_structlog(releases)
    releases.release("v1.1.0")
    project.update()
    assert project.conflicts == []
    rest, added = re.subn(rf'    "({"|".join(ADDED)})",\n', "", project.read(PYPROJECT))
    assert added == count
    assert rest == make(**answers).read(PYPROJECT)


@pytest.mark.slow
def test_uv_add_from_the_index(releases: TemplateRepository, make: MakeProject) -> None:
    """The other tests let uv add a bare name; this one adds a range, and locks."""
    answers = {"framework": "job", "python_version": require_python().version}
    project = make(**answers)
    for options in ([], ["--group", "dev"]):
        command = ["uv", "add", "--quiet", "--no-sync", *options, "redis"]
        subprocess.run(command, cwd=project.path, env=environment(), check=True)
    bump_every_dependency(releases)
    releases.release("v1.1.0")
    project.update()
    assert project.conflicts == []
    rest, added = re.subn(r'    "redis>=[\d.]+",\n', "", project.read(PYPROJECT))
    assert added == 2
    assert rest == make(**answers).read(PYPROJECT)
    assert 'name = "redis"' in project.read("uv.lock")


def test_the_recorded_uv_stays(releases: TemplateRepository, make: MakeProject) -> None:
    project = make()
    pin = SETTINGS["uv_version"]["default"]
    releases.edit("copier.yml", f'default: "{pin}"', 'default: "9.9.9"')
    releases.release("v1.1.0")
    project.update()
    assert project.rendered.answers["uv_version"] == pin
    assert project.changes == [f" M {ANSWERS_FILE}"]


def test_a_raised_uv_pin_does_not_clash(releases: TemplateRepository, make: MakeProject) -> None:
    """A project's own update bot raises the pin in the files, not in the answers."""
    project = make()
    pin = SETTINGS["uv_version"]["default"]
    raised = {
        name: text.replace(pin, "9.8.7")
        for name, text in project.contents.items()
        if pin in text and name != ANSWERS_FILE
    }
    assert raised
    for name, text in raised.items():
        project.write(name, text)
    releases.edit("copier.yml", f'default: "{pin}"', 'default: "9.9.9"')
    releases.release("v1.1.0")
    project.update()
    assert project.conflicts == []
    assert {name: project.read(name) for name in raised} == raised


@pytest.mark.parametrize(
    ("before", "answers"),
    [
        ({"framework": "django"}, {"database": "sqlite"}),
        ({"framework": "fastapi"}, {"database": "none"}),
        ({"framework": "fastapi", "database": "none"}, {"database": "postgres"}),
        ({"framework": "job"}, {"database": "postgres"}),
        ({"framework": "django"}, EVERY_GROUP),
        ({"framework": "fastapi"}, {"dependency_groups": []}),
        ({"framework": "job"}, {"dependency_groups": ["docs"]}),
        ({"framework": "fastapi"}, {"base_image": "debian"}),
        ({"base_image": "ubuntu"}, {"python_source": "apt"}),
        ({"framework": "job"}, {"base_image": "cuda", "accelerator": "torch"}),
        ({"framework": "fastapi"}, {"build_packages": "git", "runtime_packages": "libgomp1"}),
        ({"image_layout": "multi-stage"}, {"image_layout": "single-stage"}),
    ],
    ids=str,
)
def test_an_answer_can_be_changed(make: MakeProject, before: Answers, answers: Answers) -> None:
    project = make(**before)
    project.update(answers)
    fresh = make(**before | answers)
    assert project.conflicts == []
    assert project.rendered.answers == fresh.rendered.answers
    # Copier writes the answers in the order in which it got them.
    assert project.contents == fresh.contents | {ANSWERS_FILE: project.read(ANSWERS_FILE)}


def test_edits_survive(releases: TemplateRepository, make: MakeProject) -> None:
    project = make(framework="fastapi", database="none")
    main = Path("src/my_service/main.py")
    edited = project.read(main) + "\n\ndef mine() -> None:\n    pass\n"
    project.write(main, edited)
    project.write("src/my_service/mine.py", "MINE = 1\n")
    (project.path / "tests/test_logs.py").unlink()
    theirs = "template/src/{{ package_name }}/main.py.jinja"
    releases.write(theirs, f"# Theirs.\n{releases.read(theirs)}")
    logs = "template/tests/test_logs.py.jinja"
    releases.write(logs, f"{releases.read(logs)}\n# Theirs.\n")
    releases.release("v1.1.0")
    project.update()
    assert project.conflicts == []
    assert project.read(main) == f"# Theirs.\n{edited}"
    assert project.read("src/my_service/mine.py") == "MINE = 1\n"
    assert not (project.path / "tests/test_logs.py").exists()


def edit_every_kind_of_file(project: TrackedProject) -> None:
    """Do what an owner does in a first year: to code, dependencies, containers and texts."""
    project.write("src/my_service/__init__.py", '"""Mine."""\n')
    project.write("src/my_service/mine.py", "MINE = 1\n")
    uv_add(project, "celery")
    project.edit("compose.yaml", "\nservices:\n", "\nservices:\n  mine:\n    image: valkey:9\n\n")
    project.write("justfile", project.read("justfile") + "\nmine:\n    echo mine\n")
    project.edit("README.md", "\n## Test\n", "\nThis is mine.\n\n## Test\n")
    project.write(".env.example", project.read(".env.example") + "MINE=1\n")
    project.write(".dockerignore", project.read(".dockerignore") + "!mine\n")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_edited_project_moves_to_multi_stage(make: MakeProject, framework: str) -> None:
    """One answer is all it takes, and the edits are where they were."""
    answers = {"framework": framework, "python_version": require_python().version}
    project = make(**answers, image_layout="single-stage")
    edit_every_kind_of_file(project)
    project.update({"image_layout": "multi-stage"})
    assert project.conflicts == []
    fresh = make(**answers, image_layout="multi-stage")
    edit_every_kind_of_file(fresh)
    assert project.contents == fresh.contents | {ANSWERS_FILE: project.read(ANSWERS_FILE)}


@pytest.mark.parametrize("before", ["WORKDIR /app\n", "COPY src src\n", "USER 10001:0\n"])
def test_a_line_in_the_dockerfile_survives_another_layout(make: MakeProject, before: str) -> None:
    """Every other line of the file changes: it may end in a conflict, but never vanishes."""
    project = make(framework="fastapi", image_layout="single-stage")
    mine = "RUN echo mine\n"
    project.edit("Dockerfile", before, f"{mine}{before}")
    project.update({"image_layout": "multi-stage"})
    assert mine in project.read("Dockerfile")
    assert "AS production" in project.read("Dockerfile")
    assert ("<<<<<<<" in project.read("Dockerfile")) == (project.conflicts == ["Dockerfile"])


def test_a_conflict_is_noticed(releases: TemplateRepository, make: MakeProject) -> None:
    project = make(framework="fastapi", database="none")
    project.write("src/my_service/main.py", "# Mine.\n")
    theirs = "template/src/{{ package_name }}/main.py.jinja"
    releases.write(theirs, "# Theirs.\n")
    releases.release("v1.1.0")
    project.update()
    assert project.conflicts == ["src/my_service/main.py"]
