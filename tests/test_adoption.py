"""Projects that exist: what is proposed for them, what stays untouched, what they lack."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

from helpers.commands import Completed
from helpers.git_repositories import TemplateRepository, TrackedProject, template_repository
from helpers.host_python import require_python
from helpers.package_index import package_index
from helpers.profiles import Answers
from helpers.rendering import copy
from helpers.user_commands import Workshop, generate

PYPROJECT = '[project]\nname = "tides"\nversion = "1"\nrequires-python = ">=3.12"\n'


def lay_out(folder: Path, *names: str) -> Path:
    """Make a project of empty files, and a pyproject.toml."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    return folder


@pytest.mark.parametrize(
    ("files", "proposed"),
    [
        (["manage.py", "shop/wsgi.py"], ("django", "postgres", "3.14", "shop")),
        (["manage.py", "shop/wsgi.py", "db.sqlite3"], ("django", "sqlite", "3.14", "shop")),
        (["src/shop/__init__.py", "src/shop/main.py"], ("fastapi", "none", "3.14", "shop")),
        (
            ["manage.py", "src/shop/wsgi.py", "src/shop/__init__.py", "src/orders/__init__.py"],
            ("django", "postgres", "3.14", "shop"),
        ),
        (["shop/main.py", "alembic.ini"], ("fastapi", "postgres", "3.14", "shop")),
        (["tests/__init__.py", "shop/__init__.py"], ("job", "none", "3.14", "shop")),
        (
            [
                *("shop/__init__.py", ".venv/bin/python3.12"),
                *(f".venv/lib/python3.12/site-packages/{n}/__init__.py" for n in ("fastapi", "psycopg")),
            ],
            ("fastapi", "postgres", "3.12", "shop"),
        ),
        ([], ("job", "none", "3.14", "my_service")),
    ],
)  # fmt: skip
def test_answers_are_proposed(
    files: list[str], proposed: tuple[str, str, str, str], template: Path, tmp_path: Path
) -> None:
    answers = copy(template, lay_out(tmp_path / "my-service", *files)).answers
    assert answers["adopt"] is True
    names = ("framework", "database", "python_version", "package_name")
    assert tuple(answers[name] for name in names) == proposed


@pytest.mark.parametrize(
    ("pinned", "version"),
    [("3.13", "3.13"), ("3.12.4\n", "3.12"), ("3.14\n3.13\n", "3.14"), ("3.10", "3.14"), ("", "3.14")],
)  # fmt: skip
def test_the_pinned_python_is_proposed(
    pinned: str, version: str, template: Path, tmp_path: Path
) -> None:
    folder = lay_out(tmp_path / "my-service")
    (folder / ".python-version").write_text(pinned)
    assert copy(template, folder).answers["python_version"] == version


def test_an_adopted_image_is_named_after_the_project(template: Path, tmp_path: Path) -> None:
    """Its package is often called `config`."""
    folder = lay_out(tmp_path / "harbor-office", "manage.py", "config/wsgi.py")
    project = copy(template, folder)
    assert project.answers["package_name"] == "config"
    assert 'default = "harbor-office"' in project.read("docker-bake.hcl")
    assert "\nname: harbor-office\n" in project.read("compose.yaml")


def test_without_a_pyproject_nothing_is_adopted(template: Path, tmp_path: Path) -> None:
    (tmp_path / "my-service").mkdir()
    (tmp_path / "my-service/manage.py").touch()
    assert copy(template, tmp_path / "my-service").answers["adopt"] is False


@pytest.fixture(params=["django", "fastapi", "job"])
def framework(request: pytest.FixtureRequest) -> str:
    """Each framework."""
    return str(request.param)


def test_what_is_there_stays(framework: str, template: Path, tmp_path: Path) -> None:
    """Also where a file lies in the way of each one that a new project would get."""
    answers: Answers = {"framework": framework, "database": "postgres", "package_name": "shop"}
    groups = {"dependency_groups": ["test", "quality", "dev", "docs"]}
    new = copy(template, tmp_path / "new", {**answers, **groups})
    folder = lay_out(tmp_path / "old", *map(str, new.files))
    (folder / ".copier-answers.yml").unlink()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    copy(template, folder, {**answers, **groups})
    changed = {str(name) for name in new.files if (folder / name).read_bytes()}
    kept = {"README.md", ".gitignore", ".env.example", "manage.py", "alembic.ini"}
    own = {"src", "tests", "migrations", "docs"}
    assert not {name for name in changed if name in kept or Path(name).parts[0] in own}
    assert (folder / "pyproject.toml").read_text() == PYPROJECT
    assert {"Dockerfile", ".dockerignore", "compose.yaml", "docker-bake.hcl"} <= changed
    for name in ("adopt.py", "pyproject.fragment.toml"):
        assert (folder / name).exists()
        assert not (new.path / name).exists()


def test_development_needs_no_certain_fastapi_cli(template: Path, tmp_path: Path) -> None:
    """One that is locked may be too old to find the application."""
    answers: Answers = {"framework": "fastapi", "database": "none", "package_name": "shop"}
    for layout in ("multi-stage", "single-stage"):
        folder = lay_out(tmp_path / layout, "src/shop/main.py")
        copy(template, folder, {**answers, "image_layout": layout})
        names = ("Dockerfile", "compose.yaml", "justfile")
        files = "".join((folder / name).read_text() for name in names)
        assert "fastapi dev" not in re.sub('[],"[]', "", files)
        assert "uvicorn shop.main:app --reload" in re.sub('[],"[]', "", files)


def adopt(workshop: Workshop, command: str) -> Completed:
    """Run a command of the script that the message names."""
    assert f"uv run adopt.py {command}" in workshop.message
    return workshop.run(f"uv run --quiet adopt.py {command}")


def doctor(workshop: Workshop) -> Completed:
    """Run the check of the script."""
    return adopt(workshop, "doctor")


@pytest.mark.parametrize("kind", ["none", "index", "git-https", "git-ssh"])
def test_the_doctor_finds_what_no_build_takes(kind: str, template: Path, tmp_path: Path) -> None:
    """A package from git, where the build does not fetch such; and a folder outside of src."""
    folder = lay_out(tmp_path / "shop", "src/shop/__main__.py")
    answers = {"python_version": require_python().version, "private_dependencies": kind}
    workshop = generate(template, folder, answers)
    source = '{ git = "https://git.acme.example/open/beacon.git?tag=v1#0123" }'
    sources = {
        "beacon": source,
        "moon": '{ editable = "libs/moon" }',
        "sun": '{ directory = "libs/sun" }',
        "shop": '{ editable = "." }',
        "six": '{ registry = "https://index.example/simple" }',
    }
    packages = [f'[[package]]\nname = "{n}"\nsource = {s}\n' for n, s in sources.items()]
    (folder / "uv.lock").write_text("\n".join(["version = 1\n", *packages]))
    told = re.findall(r"uv\.lock: (\w+) is (from git|a folder)", doctor(workshop).stdout)
    git = [("beacon", "from git")] if kind in ("none", "index") else []
    assert told == [*git, ("moon", "a folder"), ("sun", "a folder")]


MINE = """[dependency-groups]
dev = ["Pytest>=8", "ipython"]
quality = [
    "ruff>=0.14,<0.15",
]

[tool.uv]
default-groups = ["dev"]
exclude-newer = "14 days"

[[tool.uv.index]]
name = "mine"
url = "https://pypi.acme.example/simple/"
explicit = true

[[tool.uv.index]]
name = "private"
url = "https://pypi.example.com/simple/"
explicit = true

[tool.ruff]
line-length = 79

[tool.black]
preview = true
"""


@pytest.mark.slow
def test_what_is_missing_is_merged(template: Path, tmp_path: Path) -> None:
    """Behind what is there, which stays as it is; a second time changes nothing."""
    python = require_python()
    folder = lay_out(tmp_path / "shop", "src/shop/main.py", "tests/conftest.py")
    private = {"private_dependencies": "index", "private_packages": "acme-billing~=1.0"}
    workshop = generate(template, folder, {"python_version": python.version, **private})
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(f"{PYPROJECT}\n{MINE}")
    assert adopt(workshop, "merge").stdout == (
        "dependency-groups: dev is now called test, which the test image installs; a new dev includes it\n"
    )
    merged = pyproject.read_text()
    assert "pyproject.toml" not in doctor(workshop).stdout
    mine, new = tomllib.loads(PYPROJECT + MINE), tomllib.loads(merged)
    fragment = tomllib.loads((folder / "pyproject.fragment.toml").read_text())
    assert new["project"] == mine["project"]
    groups = new["dependency-groups"]
    assert groups["test"][:2] == ["Pytest>=8", "ipython"]
    assert groups["dev"] == fragment["dependency-groups"]["dev"]
    assert [r for r in groups["quality"] if r.startswith("ruff")] == ["ruff>=0.14,<0.15"]
    assert groups["prod"] == fragment["dependency-groups"]["prod"]
    for name in ("ruff", "black"):
        assert new["tool"][name] == mine["tool"][name]
    assert new["tool"]["mypy"] == fragment["tool"]["mypy"]
    uv = new["tool"]["uv"]
    assert (uv["exclude-newer"], uv["default-groups"]) == ("14 days", ["dev"])
    assert [index["name"] for index in uv["index"]] == ["mine", "private"]
    assert uv["index"][1]["authenticate"] == "always"
    assert uv["sources"] == fragment["tool"]["uv"]["sources"]
    assert all(line in merged.splitlines() for line in MINE.splitlines() if '"]' not in line)
    assert not re.search(r"\S\n\[|\n\n\n|\n\n\Z", merged)
    assert adopt(workshop, "merge").returncode == 0
    assert pyproject.read_text() == merged


@pytest.mark.slow
@pytest.mark.parametrize(
    ("python", "requirements", "clash", "remedy"),
    [
        (
            *(">=3.12", '"httptools<0.7"'),
            "shop:prod depends on uvicorn[standard]>=0.50 and your project depends on httptools<0.7",
            "or pyproject.fragment.toml, and run this again",
        ),
        (
            *(">=3.9", ""),
            "the requested Python version (>=3.9) does not satisfy Python>=3.1",
            "or pyproject.fragment.toml, and run this again",
        ),
        (
            *(">=3.12", '"uvicorn<0.41"'),
            "your project depends on uvicorn<0.41 and shop:prod depends on uvicorn[standard]>=0.50",
            "so `uv remove --no-sync uvicorn` and run this again",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_locked_is_not_merged(
    python: str, requirements: str, clash: str, remedy: str, template: Path, tmp_path: Path
) -> None:
    """And one line names the two that clash."""
    folder = lay_out(tmp_path / "shop", "src/shop/main.py")
    workshop = generate(template, folder, {"python_version": require_python().version})
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(
        f'[project]\nname = "shop"\nversion = "1"\nrequires-python = "{python}"\n'
        f"dependencies = [{requirements}]\n"
    )
    before = pyproject.read_bytes()
    refused = adopt(workshop, "merge")
    assert refused.returncode == 1
    assert refused.stdout.startswith("Nothing was added: uv cannot lock the result: ")
    assert clash in refused.stdout
    assert refused.stdout.endswith(f"{remedy}\n")
    assert refused.stdout.count("\n") == 1
    assert pyproject.read_bytes() == before
    assert not (folder / "uv.lock").exists()


@pytest.mark.slow
def test_a_project_that_cannot_be_locked_is_told_so(template: Path, tmp_path: Path) -> None:
    """Before the template is blamed."""
    folder = lay_out(tmp_path / "shop", "src/shop/main.py")
    workshop = generate(template, folder, {"python_version": require_python().version})
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(f'{PYPROJECT}dependencies = ["six==1.16", "six==1.17"]\n')
    refused = adopt(workshop, "merge")
    assert refused.stdout == (
        "Nothing was added: uv cannot lock pyproject.toml as it is: "
        "your project depends on six==1.16 and six==1.17\n"
    )


def locked(project: Path) -> dict[str, str]:
    """The versions in uv.lock, by the names of packages."""
    packages = tomllib.loads((project / "uv.lock").read_text())["package"]
    return {package["name"]: package["version"] for package in packages}


@pytest.mark.slow
def test_locked_versions_stay_and_tools_yield(template: Path, tmp_path: Path) -> None:
    """To what is locked, such as the framework, and to what the project requires, such as ruff."""
    folder = lay_out(tmp_path / "shop", "manage.py", "src/shop/__init__.py", "src/shop/wsgi.py")
    (folder / "manage.py").write_text(
        'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings.local")\n'
    )
    (folder / "setup.cfg").write_text("[mypy]\nstrict = false\n")
    answers = {"framework": "django", "python_version": require_python().version}
    workshop = generate(template, folder, answers)
    groups = 'quality = ["mypy<2"]\ndev = ["ruff<0.16"]\n\n[tool.uv]\nexclude-newer = "7 days"\n'
    dependencies = f'dependencies = ["django>=4.2"]\n\n[dependency-groups]\n{groups}'
    (folder / "pyproject.toml").write_text(f"{PYPROJECT}{dependencies}")
    workshop.ok("uv lock --quiet --upgrade-package django==4.2.20")
    before = locked(folder)
    yielding = adopt(workshop, "merge").stdout.splitlines()
    after = locked(folder)
    assert after.items() >= before.items()
    pyproject = tomllib.loads((folder / "pyproject.toml").read_text())
    # A table of mypy would hide those of setup.cfg.
    assert "mypy" not in pyproject["tool"]
    assert pyproject["tool"]["pytest"]["DJANGO_SETTINGS_MODULE"] == "shop.settings.local"
    merged = pyproject["dependency-groups"]
    assert merged["quality"][:2] == ["mypy<2", f"ruff~={before['ruff']}"]
    assert f"    quality: ruff~={before['ruff']}" in yielding
    (toolbar,) = (e for e in merged["dev"] if "debug-toolbar" in e)
    assert f"    dev: {toolbar}" in yielding
    assert Version(after["django-debug-toolbar"]) < Version("8")
    assert "pytest~=9.0" in merged["test"]
    workshop.ok("uv lock --quiet --check")


@pytest.mark.slow
def test_a_merge_names_the_versions_that_move(template: Path, tmp_path: Path) -> None:
    """Only what production needs moves a locked version."""
    folder = lay_out(tmp_path / "shop", "src/shop/__init__.py", "src/shop/main.py")
    workshop = generate(template, folder, {"python_version": require_python().version})
    uv = '[tool.uv]\nexclude-newer = "7 days"\n'
    dependencies = f'dependencies = ["pytest", "uvicorn"]\n\n{uv}'
    (folder / "pyproject.toml").write_text(f"{PYPROJECT}{dependencies}")
    old = {"pytest": "8.4.2", "uvicorn": "0.40.0"}
    workshop.ok("uv lock --quiet" + "".join(f" --upgrade-package {n}=={v}" for n, v in old.items()))
    before = locked(folder)
    said = adopt(workshop, "merge").stdout
    after = locked(folder)
    assert {name for name in before if after[name] != before[name]} == {"uvicorn"}
    _, found, table = said.partition("These locked versions change:\n")
    assert found
    assert re.sub(" +", " ", table).splitlines() == [
        " package old new why",
        f" uvicorn 0.40.0 {after['uvicorn']} uvicorn[standard]~=0.50 in prod",
    ]
    # That version of pytest reads its settings from another table.
    tools = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]
    assert tools["pytest"] == {"ini_options": {"testpaths": ["tests"]}}
    workshop.ok("uv lock --quiet --check")


@pytest.mark.slow
def test_a_version_that_is_too_young_is_named(template: Path, tmp_path: Path) -> None:
    """It goes back to one that is older than a week."""
    folder = lay_out(tmp_path / "shop", "src/shop/__main__.py")
    answers: Answers = {"python_version": require_python().version, "dependency_groups": []}
    workshop = generate(template, folder, answers)
    with package_index() as index:
        index.release("tiny", "1.0", 30)
        index.release("tiny", "1.1", 2)
        (folder / "pyproject.toml").write_text(
            f'{PYPROJECT}dependencies = ["tiny"]\n\n[tool.uv.sources]\n'
            'tiny = { index = "fake" }\n\n[[tool.uv.index]]\nname = "fake"\n'
            f'url = "{index.url}/simple/"\nexplicit = true\n'
        )
        workshop.ok("uv lock --quiet")
        assert locked(folder)["tiny"] == "1.1"
        said = adopt(workshop, "merge").stdout.splitlines()
    assert said[-1].split(maxsplit=3) == ["tiny", "1.1", "1.0", "younger than exclude-newer"]
    assert locked(folder)["tiny"] == "1.0"


SHAPES = {
    "a package named otherwise": (["src/shop/__init__.py", "tests/test_shop.py"], ""),
    "no package": (
        ["src/tides/__init__.py", "tests/test_tides.py"],
        "[tool.uv]\npackage = false\n",
    ),
    "several packages, tests in one, a mixed group": (
        ["src/shop/__init__.py", "src/orders/__init__.py", "src/shop/tests.py"],
        """[dependency-groups]
dev = ["pytest", "six"]

[tool.uv.build-backend]
module-root = ""

[build-system]
requires = ["uv_build"]
build-backend = "uv_build"
""",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_tests_run_after_a_merge(shape: str, template: Path, tmp_path: Path) -> None:
    """With what the test image has. Before it, uv or pytest finds no package."""
    files, tables = SHAPES[shape]
    folder = lay_out(tmp_path / "shop", *files)
    packages = [Path(name).parent.name for name in files if name.endswith("__init__.py")]
    lines = [f"import {name}\n" for name in [*packages, *re.findall("six", tables)]]
    (folder / files[-1]).write_text(f"{''.join(lines)}\n\ndef test_nothing() -> None: ...\n")
    answers = {"python_version": require_python().version, "dependency_groups": ["test", "dev"]}
    workshop = generate(template, folder, answers)
    (folder / "pyproject.toml").write_text(f"{PYPROJECT}\n{tables}".rstrip() + "\n")
    run_tests = "uv run --quiet --no-default-groups --group test pytest -q"
    assert workshop.run(run_tests).returncode != 0
    merged = adopt(workshop, "merge")
    assert merged.returncode == 0
    assert "1 passed" in workshop.ok(run_tests), merged.stdout
    assert not re.search(r"\S\n\[|\n\n\n|\n\n\Z", (folder / "pyproject.toml").read_text())


@pytest.mark.slow
def test_a_setting_of_another_kind_stays(template: Path, tmp_path: Path) -> None:
    """A word where the template has a list."""
    folder = lay_out(tmp_path / "shop", "src/shop/main.py")
    groups = {"dependency_groups": ["test"], "python_version": require_python().version}
    workshop = generate(template, folder, groups)
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(f'{PYPROJECT}\n[tool.uv]\ndefault-groups = "all"\n')
    assert "default-groups" in (folder / "pyproject.fragment.toml").read_text()
    assert adopt(workshop, "merge").returncode == 0
    merged = tomllib.loads(pyproject.read_text())
    assert merged["tool"]["uv"]["default-groups"] == "all"
    assert "pyproject.toml" not in doctor(workshop).stdout


@pytest.mark.parametrize("name", ["pyproject.fragment.toml", "pyproject.toml"])
def test_the_script_says_which_file_it_needs(name: str, template: Path, tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "shop", "src/shop/main.py")
    workshop = generate(template, folder, {"python_version": require_python().version})
    (folder / name).unlink()
    assert doctor(workshop).stdout == f"adopt.py needs {name} in the same folder\n"
    (folder / name).write_text("[tool.mine]\nyes = yes\n")
    assert doctor(workshop).stdout.splitlines()[-1].startswith(f"{name}: ")


def test_what_was_deleted_after_the_adoption_stays_away(template: Path, tmp_path: Path) -> None:
    """Also where the new release has other content for it."""
    releases: TemplateRepository = template_repository(template, tmp_path / "slipway")
    project: TrackedProject = releases.copy(lay_out(tmp_path / "shop", "shop/main.py"))
    done = ["adopt.py", "pyproject.fragment.toml"]
    for name in done:
        (project.path / name).unlink()
    for line in (
        ["template/project/pyproject.toml.jinja", '    "pytest~=9.0",', '    "pytest~=9.1",'],
        ["template/project/adopt.py", "import argparse\n", "import argparse  # New.\n"],
    ):
        releases.edit(*line)
    releases.release("v1.1.0")
    project.update()
    assert project.changes == [" M .copier-answers.yml"]
    assert not [name for name in done if (project.path / name).exists()]


def test_an_update_leaves_an_adopted_project_alone(template: Path, tmp_path: Path) -> None:
    releases: TemplateRepository = template_repository(template, tmp_path / "slipway")
    folder = lay_out(tmp_path / "shop", "shop/main.py")
    project: TrackedProject = releases.copy(folder)
    releases.edit(
        "template/project/pyproject.toml.jinja", '    "pytest~=9.0",', '    "pytest~=9.1",'
    )
    releases.release("v1.1.0")
    project.update()
    assert project.changes == [" M .copier-answers.yml", " M pyproject.fragment.toml"]
