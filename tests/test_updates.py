"""Projects take updates of the template without losing what their owners wrote."""

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from copier import run_recopy
from copier.errors import UnsafeTemplateError
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pathspec import PathSpec

from helpers.commands import attempt, run
from helpers.git_repositories import (
    OWN_FOLDERS,
    TemplateRepository,
    TrackedProject,
    template_repository,
)
from helpers.host_python import environment, require_python
from helpers.profiles import QUESTIONNAIRE, SETTINGS, Answers
from helpers.rendering import ANSWERS_FILE, Project, Render

FRAMEWORKS = QUESTIONNAIRE.factors["framework"]
PYPROJECT = "pyproject.toml"
TEMPLATE_PYPROJECT = "template/project/pyproject.toml.jinja"
# Where uv puts what it adds depends on the alphabet where a list is sorted, else it goes last.
ADDED = ("aiohttp", "celery", "redis", "zstandard")
EVERY_GROUP = {"dependency_groups": ["test", "quality", "dev", "docs"]}
PRIVATE = {
    "private_dependencies": "git-https",
    "private_packages": "billing @ git+https://github.com/acme/billing.git@v1.2.0",
}
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
    run(*command, cwd=project.path, env=environment())


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
        run(*command, cwd=project.path, env=environment())
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


def raise_pins(project: TrackedProject, by_bot: bool) -> None:
    """Raise uv to 9.8.7 and Python from 3.13 to 3.14 in the files of a project.

    Renovate raises the recorded uv too, and has added digests; a person forgets the record, and
    raises Python.
    """
    pin = SETTINGS["uv_version"]["default"]
    for name, text in project.contents.items():
        if by_bot:
            text = text.replace(f"uv:{pin}", f"uv:9.8.7@sha256:{'0' * 64}").replace(pin, "9.8.7")
        elif name in {".python-version", "Dockerfile"}:
            text = text.replace("3.13", "3.14")
        project.write(name, text)


FEATURES: list[Answers] = [
    {"private_dependencies": "index"},
    {"ci": "gitlab"},
    EVERY_GROUP,
    {"base_image": "debian"},
    {"build_packages": "git"},
]


@pytest.mark.parametrize("by_bot", [True, False], ids=["a bot", "a person"])
def test_raised_pins_hold_in_files_that_come_later(
    releases: TemplateRepository, make: MakeProject, by_bot: bool
) -> None:
    """The project's own comparison agrees after a newer release and after each new answer."""
    project = make(framework="job", python_version="3.13")
    old = SETTINGS["uv_version"]["default"] if by_bot else "3.13"
    raise_pins(project, by_bot)
    # The release changes the same areas, and what new projects start with.
    pin = SETTINGS["uv_version"]["default"]
    releases.edit("copier.yml", f'default: "{pin}"', 'default: "9.9.9"')
    releases.edit(
        "template/parts/dockerfile/lock.jinja", "    uv lock $LOCK", "    uv -q lock $LOCK"
    )
    macros = "template/parts/dockerfile/macros.jinja"
    releases.edit(macros, "export PYC_INVALIDATION_MODE=UNCHECKED_HASH\n", "export THEIRS=1\n")
    releases.edit(
        macros, "ENV PYTHONDONTWRITEBYTECODE=1 ", "ENV THEIRS=1 PYTHONDONTWRITEBYTECODE=1 "
    )
    releases.release("v1.1.0")
    for answers in [{}, *FEATURES]:
        project.update(answers)
        assert project.conflicts == [], answers
        run(sys.executable, "ci/check_pins.py", cwd=project.path)
        left = [n for n, text in project.contents.items() if re.search(rf"\b{old}\b", text)]
        assert left == [], answers
    assert "THEIRS=1" in project.read("Dockerfile")


def test_a_python_that_is_asked_for_is_not_that_of_the_file(make: MakeProject) -> None:
    project = make(framework="job", python_version="3.13")
    project.update({"python_version": "3.12"})
    assert project.read(".python-version") == "3.12\n"
    # What the template does not know stays, and does not count.
    for own in "3.11", "pypy3.11":
        project.write(".python-version", f"{own}\n")
        project.update()
        assert project.rendered.answers["python_version"] == "3.12"
        assert project.read(".python-version") == f"{own}\n"
    project.write(".python-version", "3.13.5\n")
    project.update()
    assert project.rendered.answers["python_version"] == "3.13"
    assert "3.13.5\n" in project.read(".python-version")
    # And writing everything anew takes nothing back.
    project.write(".python-version", "3.14\n")
    project.recopy()
    assert project.read(".python-version") == "3.14\n"


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
        ({"framework": "job"}, PRIVATE),
        ({"framework": "job", **PRIVATE}, {"private_dependencies": "none"}),
        (
            {"framework": "job", **PRIVATE},
            {"private_dependencies": "index", "private_packages": "a"},
        ),
    ],
    ids=str,
)
def test_an_answer_can_be_changed(make: MakeProject, before: Answers, answers: Answers) -> None:
    """The template's files are as fresh ones; starter code that is new comes, the rest stays."""
    project = make(**before)
    old = project.code
    project.update(answers)
    fresh = make(**before | answers)
    assert project.conflicts == []
    assert project.rendered.answers == fresh.rendered.answers
    # Copier writes the answers in the order in which it got them.
    answers_file = {ANSWERS_FILE: project.read(ANSWERS_FILE)}
    assert project.contents == fresh.contents | old | answers_file


def change_all_of_yours(releases: TemplateRepository) -> None:
    """Let the template change each file that belongs to the users of its older releases."""
    found = [
        p
        for folder in OWN_FOLDERS
        for p in (releases.path / "template/project" / folder).rglob("*.*")
    ]
    assert len(found) > 50
    for path in found:
        path.write_text(path.read_text() + "# Theirs.\n")
    releases.write("template/project/src/{{ package_name }}/logs_2.py", "# Theirs.\n")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_is_yours_is_written_once(
    releases: TemplateRepository, make: MakeProject, framework: str
) -> None:
    project = make(framework=framework, database="postgres", **EVERY_GROUP)
    logs = "src/my_service/logs.py"
    project.write(logs, "# Mine.\n")
    project.write("src/my_service/mine.py", "# Mine.\n")
    (project.path / "tests/test_logs.py").unlink()
    project.git("mv", "src/my_service/__init__.py", "src/my_service/moved.py")
    mine = project.code
    change_all_of_yours(releases)
    shutil.rmtree(releases.path / "template/project/docs")
    releases.release("v1.1.0")
    project.update()
    assert project.changes == [f" M {ANSWERS_FILE}"]
    assert project.code == mine
    # A fresh project has what is new.
    assert make(framework=framework).read(logs).endswith("# Theirs.\n")


def strict_jinja(template: Path) -> Environment:
    """Return Jinja as the template has it."""
    return Environment(
        loader=FileSystemLoader(template),
        extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
        undefined=StrictUndefined,
    )


def test_each_file_of_yours_is_in_a_group(template: Path, project: Project) -> None:
    """An update leaves out all of them, and nothing else, once their groups are recorded."""
    jinja = strict_jinja(template)
    context = {
        **project.answers,
        "starter": project.starter,
        "_copier_operation": "update",
        "_copier_conf": {"data": {"_commit": "v1.0.0"}},
    }
    manifest = "\n".join(jinja.from_string(part).render(context) for part in SETTINGS["_exclude"])
    left_out = PathSpec.from_lines("gitignore", map(str.strip, manifest.splitlines()))
    for name in project.files:
        assert left_out.match_file(name) == (name.parts[0] in OWN_FOLDERS), name


def starter_groups(template: Path, answers: Answers) -> dict[str, list[str]]:
    """Return the patterns of each group of starter code by its name, its tests by themselves."""
    table = strict_jinja(template).from_string(
        "{% from 'template/parts/manifest.jinja' import groups with context %}{{ groups | to_json }}"
    )
    rows = json.loads(table.render(answers))
    return {name: files.split() for name, _, files, _ in rows} | {
        f"{name}_tests": tests.split() for name, _, _, tests in rows if tests
    }


def test_each_starter_file_is_in_one_group(template: Path, render: Render) -> None:
    groups = starter_groups(template, render().answers)
    files = [
        path.relative_to(template / "template/project").as_posix().removesuffix(".jinja")
        for folder in OWN_FOLDERS
        for path in (template / "template/project" / folder).rglob("*")
        if path.is_file()
    ]
    matches = {
        name: PathSpec.from_lines("gitignore", patterns) for name, patterns in groups.items()
    }
    for file in files:
        assert len([name for name, spec in matches.items() if spec.match_file(file)]) == 1, file
    for name, patterns in groups.items():
        for pattern in patterns:
            spec = PathSpec.from_lines("gitignore", [pattern])
            assert any(spec.match_file(file) for file in files), f"{name}: {pattern}"


def test_copier_yml_uses_one_macro_of_the_parts() -> None:
    """While a project updates, Copier renders the new copier.yml with the old parts."""
    [exclude] = SETTINGS["_exclude"]
    assert re.findall(r"{% (from .*?) %}|{{ (\w+)\(", exclude) == [
        ("from 'template/parts/manifest.jinja' import left_out with context", ""),
        ("", "left_out"),
    ]
    assert "template/parts" not in exclude.replace("template/parts/manifest.jinja", "")


def test_a_project_from_before_the_first_release_is_refused(make: MakeProject) -> None:
    """Such a project has other answers. Copier would end at the first one that is missing."""
    project = make()
    text = project.read(ANSWERS_FILE)
    project.write(ANSWERS_FILE, re.sub(r"(ci|starter): .*\n", "", text))
    project.commit()
    ran = attempt(sys.executable, "-m", "copier", "update", "--defaults", cwd=project.path)
    assert ran.returncode != 0
    assert ran.stderr.splitlines()[-1].endswith(
        ": a project from before the first release: make a new one, then move your code"
    )
    assert project.changes == []


def test_the_manifest_may_use_what_an_older_release_lacks(
    releases: TemplateRepository, make: MakeProject
) -> None:
    """A question, a part, a macro and a group that the release of the project does not know."""
    project = make(framework="job")
    releases.edit(
        "copier.yml",
        "customize:\n",
        "mascot:\n  type: str\n  default: gull\n  ask: false\n\ncustomize:\n",
    )
    releases.write("template/parts/mascot.jinja", "{% set flies = mascot == 'gull' %}\n")
    manifest = "template/parts/manifest.jinja"
    imports = "{% from 'template/parts/mascot.jinja' import flies with context %}\n"
    text = releases.read(manifest).replace("asked_for", "groups_asked_for")
    releases.write(manifest, imports + text.replace(
        "    ('docs',", "    ('mascot', flies, '/src/*/mascot.py', ''),\n    ('docs',"
    ))  # fmt: skip
    for user in ("{{ _copier_conf.answers_file }}.jinja", "../parts/messages/after-update.jinja"):
        name = f"template/project/{user}"
        releases.write(name, releases.read(name).replace("asked_for", "groups_asked_for"))
    releases.write("template/project/src/{{ package_name }}/mascot.py", "GULL = True\n")
    releases.release("v1.1.0")
    said = project.update()
    assert "\nNew starter code: mascot.\n" in said
    assert project.read("src/my_service/mascot.py") == "GULL = True\n"
    assert project.conflicts == []
    assert "mascot" in project.rendered.starter


def test_new_starter_code_comes_once(releases: TemplateRepository, make: MakeProject) -> None:
    project = make(framework="fastapi", database="none", dependency_groups=[])
    notes, tests = "src/my_service/api/notes.py", "tests/api/test_notes.py"
    said = project.update({"database": "postgres"})
    assert "\nNew starter code: models, notes.\n" in said
    assert "?? src/my_service/database.py" in project.changes
    project.write(notes, "# Mine.\n")
    (project.path / "src/my_service/database.py").unlink()
    change_all_of_yours(releases)
    releases.release("v1.1.0")
    assert "starter code" not in project.update()
    assert project.changes == [f" M {ANSWERS_FILE}"]
    # Off and on again.
    project.update({"database": "none"})
    assert project.read(notes) == "# Mine.\n"
    project.update({"database": "postgres", "dependency_groups": ["test"]})
    assert project.read(notes) == "# Mine.\n"
    assert not (project.path / "src/my_service/database.py").exists()
    assert project.read(tests).endswith("# Theirs.\n")
    assert project.conflicts == []


def test_a_file_in_the_way_of_starter_code_is_a_conflict(make: MakeProject) -> None:
    project = make(framework="fastapi", database="none")
    models = "src/my_service/models.py"
    project.write(models, "# Mine.\n")
    project.update({"database": "postgres"})
    assert project.conflicts == [models]
    assert "# Mine.\n" in project.read(models)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["fastapi", "job"])
def test_a_recopy_shows_what_uses_new_starter_code(make: MakeProject, framework: str) -> None:
    project = make(framework=framework, database="none")
    old = project.code
    project.update({"database": "postgres"})
    project.recopy()
    fresh = make(framework=framework, database="postgres")
    answers_file = {ANSWERS_FILE: project.read(ANSWERS_FILE)}
    assert project.contents == old | fresh.contents | answers_file


@pytest.mark.parametrize("package", ["beta", "json"])
def test_an_answer_cannot_rename_the_package(make: MakeProject, package: str) -> None:
    project = make(project_name="Alpha")
    refused = "'package_name': rename by hand: see README.md$"
    with pytest.raises(ValueError, match=refused):
        project.update({"package_name": package})
    assert project.changes == []
    with pytest.raises(ValueError, match=refused):
        run_recopy(project.path, data={"package_name": package}, defaults=True, overwrite=True)
    assert project.changes == []


def test_a_new_project_name_leaves_the_package(make: MakeProject) -> None:
    project = make(project_name="Alpha")
    project.update({"project_name": "Beta", "package_name": "alpha"})
    assert project.rendered.answers["package_name"] == "alpha"
    assert project.changes == [f" M {ANSWERS_FILE}", " M README.md"]


def test_the_package_is_renamed_by_hand(releases: TemplateRepository, make: MakeProject) -> None:
    """As the README says: its folder, its name in every file, the answers' too, one commit."""
    project = make(framework="django", package_name="alpha")
    assert "in every file,\n`.copier-answers.yml` included" in project.read("README.md")
    project.git("mv", "src/alpha", "src/beta")
    for name, text in project.contents.items():
        project.write(name, text.replace("alpha", "beta"))
    releases.write(
        "template/project/justfile.jinja",
        releases.read("template/project/justfile.jinja") + "# New.\n",
    )
    releases.release("v1.1.0")
    project.update()
    assert project.conflicts == []
    fresh = make(framework="django", package_name="beta").contents
    assert project.contents.keys() == fresh.keys()
    assert project.read("justfile") == fresh["justfile"]
    assert project.read("pyproject.toml") == fresh["pyproject.toml"]


def test_a_package_whose_name_is_taken_later_keeps_it(
    releases: TemplateRepository, make: MakeProject
) -> None:
    project = make(package_name="valkey")
    releases.edit("template/parts/taken_names.jinja", " wave ", " wave valkey ")
    releases.release("v1.1.0")
    with pytest.raises(ValueError, match="valkey is taken"):
        make(package_name="valkey")
    project.update()
    assert project.changes == [f" M {ANSWERS_FILE}"]


def test_a_folder_of_any_name_keeps_its_package(
    releases: TemplateRepository, tmp_path: Path
) -> None:
    project = releases.copy(tmp_path / "[a]*?", {"package_name": "alpha"})
    with pytest.raises(ValueError, match="rename by hand"):
        project.update({"package_name": "beta"})


def test_a_retired_question_does_not_stop_an_update(
    releases: TemplateRepository, make: MakeProject
) -> None:
    text = releases.read("copier.yml")
    releases.write("copier.yml", f"{text}\nmascot:\n  type: str\n  default: owl\n")
    releases.release("v1.1.0")
    project, unready = make(mascot="emu"), make(mascot="emu")
    releases.write("copier.yml", text)
    releases.release("v1.2.0")
    with pytest.raises(ValueError, match="unknown answer mascot"):
        unready.update()
    releases.edit(
        "template/parts/questions.jinja", "{% set retired = [", "{% set retired = ['mascot'"
    )
    releases.release("v1.3.0")
    project.update()
    assert project.changes == [f" M {ANSWERS_FILE}"]
    assert "mascot" not in project.rendered.answers
    # And what was misspelt is refused as ever.
    with pytest.raises(ValueError, match="unknown answer framwork"):
        project.update({"framwork": "fastapi"})


def test_the_message_finds_conflicts_and_removed_files(
    releases: TemplateRepository, make: MakeProject
) -> None:
    """Copier cannot name them, as it renders the message from answers; the command it gives can."""
    project = make(framework="fastapi", database="postgres")
    project.edit("justfile", "# List the recipes.", "# Mine.")
    project.write("alembic.ini", project.read("alembic.ini") + "# Mine.\n")
    releases.edit("template/project/justfile.jinja", "# List the recipes.", "# Theirs.")
    releases.release("v1.1.0")
    said = project.update({"database": "none"})
    command = said.split("What changed:\n\n    ")[1].splitlines()[0]
    shown = run(*command.split(), cwd=project.path).splitlines()
    assert project.conflicts == ["justfile"]
    assert project.removed == ["alembic.ini"]
    assert {"UU justfile", " D alembic.ini"} <= set(shown)
    assert all(f"\n{mark}  " in said for mark in ("UU", " D"))
    # What was removed is one command away, as the message says.
    project.git("restore", "alembic.ini")
    assert project.read("alembic.ini").endswith("# Mine.\n")


def test_the_message_names_the_rejects_where_these_are_asked_for(
    releases: TemplateRepository, make: MakeProject
) -> None:
    project = make()
    project.edit("justfile", "# List the recipes.", "# Mine.")
    releases.edit("template/project/justfile.jinja", "# List the recipes.", "# Theirs.")
    releases.release("v1.1.0")
    said = project.update(conflict="rej")
    assert [Path(name).name for name in project.conflicts] == ["justfile.rej"]
    assert "FILE.rej" in said
    assert "UU" not in said


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


BASES = ["slim", "debian", "ubuntu", "cuda"]


@pytest.mark.parametrize(("before", "after"), [*pairwise(BASES), *pairwise(BASES[::-1])])
def test_lines_where_the_dockerfile_asks_for_them_survive_another_base(
    make: MakeProject, before: str, after: str
) -> None:
    """Without a conflict, in which one base's way to Python could be kept on another base."""
    mine = "COPY --chmod=755 mine.sh /usr/local/bin/\nRUN echo mine\n"
    yours = "# Yours: packages and files that each target needs.\n"
    project = make(framework="job", base_image=before)
    project.edit("Dockerfile", yours, f"{yours}{mine}")
    project.update({"base_image": after})
    assert project.conflicts == []
    fresh = make(framework="job", base_image=after)
    fresh.edit("Dockerfile", yours, f"{yours}{mine}")
    assert project.read("Dockerfile") == fresh.read("Dockerfile")


def test_a_conflict_is_noticed(releases: TemplateRepository, make: MakeProject) -> None:
    project = make(framework="fastapi", database="none")
    project.write("compose.yaml", "# Mine.\n")
    releases.write("template/project/compose.yaml.jinja", "# Theirs.\n")
    releases.release("v1.1.0")
    project.update()
    assert project.conflicts == ["compose.yaml"]
