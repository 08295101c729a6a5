"""The doctor of an adopted project names each defect in one line, with what to do about it.

Each case plants defects in a project that has none. Where they do not hide each other, it plants
several, as each run asks uv, pytest and the project's code.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from helpers.commands import attempt
from helpers.docker_engine import engine_problem
from helpers.git_repositories import TrackedProject
from helpers.host_python import environment, lock, require_python
from helpers.markdown_commands import read
from helpers.profiles import ROOT
from helpers.rendering import copy

NOTHING = "Nothing is missing. adopt.py and pyproject.fragment.toml can be deleted."
UNCHECKED = "Not checked, as docker is not here: what compose and bake make of their files."
RECOPY = "`uvx copier recopy --force -d {}`"
# The service for a second process, as the guide has it.
(WORKER,) = re.findall(r"```yaml\n(services:\n.*?)```", read("adopting-shapes"), re.DOTALL)

ANSWERS: dict[str, dict[str, Any]] = {
    "django": {"framework": "django", "database": "postgres"},
    "fastapi": {"framework": "fastapi", "database": "none"},
    "job": {"framework": "job", "database": "none"},
}


class Prepared:
    """Projects in which nothing is missing, one for each framework, made when first asked for."""

    def __init__(self, template: Path, folder: Path) -> None:
        self.template = template
        self.folder = folder
        # Programs that the doctor may find: no docker, which some machines do not have.
        self.programs = folder / "bin"
        self.programs.mkdir()
        git = shutil.which("git")
        assert git
        (self.programs / "git").symlink_to(git)

    def project(self, framework: str, destination: Path) -> TrackedProject:
        """Return a copy of a project, committed."""
        source = self.folder / framework / "shop"
        if not source.exists():
            self._make(framework, source)
        shutil.copytree(source, destination, symlinks=True)
        return TrackedProject(destination)

    def _make(self, framework: str, folder: Path) -> None:
        python = require_python().version
        shutil.copytree(ROOT / "tests/data/adopted" / framework, folder)
        groups = {"dependency_groups": ["test", "dev"], "python_version": python}
        copy(self.template, folder, {**ANSWERS[framework], **groups, "package_name": "shop"})
        project = TrackedProject(folder)
        project.edit("pyproject.toml", ">=3.12", f">={python}")
        text = project.read("pyproject.toml") + project.read("pyproject.fragment.toml")
        project.write("pyproject.toml", text)
        project.write(".gitignore", ".venv/\n__pycache__/\n")
        lock(folder)
        project.git("init", "--quiet")
        project.commit()

    def doctor(self, project: TrackedProject, framework: str, docker: bool = False) -> list[str]:
        """Return the lines that the doctor prints. Projects of one framework share a .venv."""
        variables = {"UV_PROJECT_ENVIRONMENT": str(self.folder / framework / "venv")}
        # What a developer has in a shell is not in an image.
        variables["MAIL_HOST"] = "localhost"
        if not docker:
            program = environment()["PATH"].split(os.pathsep)[0]
            variables["PATH"] = os.pathsep.join([program, str(self.programs)])
        command = (f"{program}/uv" if not docker else "uv", "run", "--quiet", "adopt.py", "doctor")
        ran = attempt(*command, cwd=project.path, env=environment(variables), merged=True)
        lines = ran.stdout.splitlines()
        assert (ran.returncode == 0) == (NOTHING in lines), ran.stdout
        return lines


@pytest.fixture(scope="module")
def prepared(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Projects in which nothing is missing."""
    require_python()
    return Prepared(template, tmp_path_factory.mktemp("prepared"))


Plant = Callable[[TrackedProject], None]


def another_python() -> str:
    """Return a version of Python that the project does not have."""
    return "3.12" if require_python().version != "3.12" else "3.13"


def clutter(project: TrackedProject) -> None:
    """Leave the files of another layout where they were."""
    for name in ("docker-compose.yml", "Dockerfile.dockerignore", "conftest.py"):
        project.write(name, "")
    project.write("setup.cfg", "[tool:pytest]\naddopts = -x\n")
    project.git("mv", "tests", "checks")
    project.git("mv", "src/shop/main.py", "src/shop/api.py")


def go_without_alembic(project: TrackedProject) -> None:
    """Have a Dockerfile for PostgreSQL, and no migrations."""
    project.write(".dockerignore", project.read(".dockerignore") + "!alembic.ini\n!migrations\n")


def move_versions(project: TrackedProject) -> None:
    """Have another Python and another FastAPI than in the last commit."""
    python, now = project.read(".python-version"), project.read("uv.lock")
    old = re.sub(r'(name = "fastapi"\nversion = ")[^"]*', r"\g<1>0.99.1", now)
    project.write("uv.lock", old)
    project.write(".python-version", f"{another_python()}\n")
    project.commit()
    project.write("uv.lock", now)
    project.write(".python-version", python)


def leave_python_open(project: TrackedProject) -> None:
    """Say by requires-python alone which Python there was."""
    project.git("rm", "--quiet", ".python-version")
    project.edit("pyproject.toml", f">={require_python().version}", f">={another_python()}")
    project.write(".python-version", "")
    lock(project.path)
    project.git("commit", "--quiet", "--message", "Without a pin")
    project.write(".python-version", f"{require_python().version}\n")


def clash(project: TrackedProject) -> None:
    """Need a package that the template's server excludes."""
    project.edit("pyproject.toml", '"fastapi>=0.115"', '"fastapi>=0.115", "httptools<0.7"')


def rename(project: TrackedProject) -> None:
    """Call the project otherwise than its package, of which there are two."""
    project.edit("pyproject.toml", 'name = "shop"', 'name = "harbour"')
    project.write("src/orders/__init__.py", "")
    lock(project.path)


def be_no_package(project: TrackedProject) -> None:
    """Be a project that uv does not install."""
    project.edit("pyproject.toml", "[tool.uv]\n", "[tool.uv]\npackage = false\n")
    lock(project.path)


def compile_a_package(project: TrackedProject) -> None:
    """Depend on a package whose wheel this machine has made."""
    files = {
        "METADATA": "Metadata-Version: 2.4\nName: tide\nVersion: 1\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-linux_x86_64\n",
        "RECORD": "",
    }
    with ZipFile(project.path / "tide-1-py3-none-linux_x86_64.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(f"tide-1.dist-info/{name}", text)
    source = '[tool.uv.sources]\ntide = { path = "tide-1-py3-none-linux_x86_64.whl" }\n'
    project.edit("pyproject.toml", '"fastapi>=0.115"', '"fastapi>=0.115", "tide"')
    project.write("pyproject.toml", project.read("pyproject.toml") + source)
    lock(project.path)


def hide_tests(project: TrackedProject) -> None:
    """Keep tests in the package, and stubs without a test as Django makes them. Measure them."""
    project.edit("pyproject.toml", "[tool.pytest]\n", '[tool.pytest]\naddopts = ["--cov"]\n')
    project.write("src/shop/tests/test_price.py", "def test_price():\n    pass\n")
    project.write("src/shop/tests.py", "from unittest import TestCase\n")


def take_tools_of_dev(project: TrackedProject) -> None:
    """Use in tests what the group dev has, and a plugin that no group has."""
    project.edit("pyproject.toml", '"fastapi[standard]"', '"fastapi[standard]", "six"')
    project.write("tests/test_six.py", "import six\n\n\ndef test_six():\n    assert six\n")
    project.write("tests/test_mock.py", "def test_mock(mocker):\n    pass\n")
    lock(project.path)


def read_beside_the_code(project: TrackedProject) -> None:
    """Read a file that the image does not get."""
    project.write("version.txt", "1")
    code = "from pathlib import Path\n\nPath(__file__).parents[2].joinpath('version.txt').open()\n"
    project.write("src/shop/__init__.py", code)


def move_the_health_check(project: TrackedProject) -> None:
    """Answer another path than the image asks for."""
    project.edit("src/shop/main.py", '"/livez"', '"/health"')


def misconfigure(project: TrackedProject) -> None:
    """Have settings that work on one machine."""
    for line in ("shop.health.livez", "whitenoise.middleware.WhiteNoiseMiddleware"):
        project.edit("src/shop/settings.py", f'    "{line}",\n', "")
    for old, new in (
        ("dj_database_url.config(default=", "dj_database_url.parse("),
        ('"APP_DIRS"', '"DIRS": [BASE_DIR / "pages"], "APP_DIRS"'),
    ):
        project.edit("src/shop/settings.py", old, new)
    project.write("pages/index.html", "")
    keeper = "class Keeper(models.Model):\n    name = models.CharField(max_length=-1)\n"
    project.write("src/shop/models.py", f"from django.db import models\n\n\n{keeper}")


def collect_elsewhere(project: TrackedProject) -> None:
    """Collect static files into another folder than the image has."""
    project.edit("src/shop/settings.py", '"staticfiles"', '"collected"')


def split_settings(project: TrackedProject) -> None:
    """Let manage.py take settings that need a tool of the group dev."""
    project.write("src/shop/development.py", "from shop.settings import *\nimport debug_toolbar\n")
    project.edit("manage.py", "shop.settings", "shop.development")


def need_a_variable(project: TrackedProject) -> None:
    """Need a variable that the build does not set."""
    project.edit("src/shop/settings.py", "\nDEBUG", '\nMAIL = os.environ["MAIL_HOST"]\nDEBUG')


def import_a_tool(project: TrackedProject) -> None:
    """Start with an import that production does not have."""
    project.edit("src/shop/__main__.py", "import sys\n", "import sys\n\nimport pytest\n")


def mix_compose_files(project: TrackedProject) -> None:
    """Have an override for another compose file, with a file of variables that is not there."""
    project.write("docker-compose.override.yml", "services: {web: {env_file: .env}}\n")


def outgrow_compose(project: TrackedProject) -> None:
    """Need more than compose starts, under another name, beside what was there before."""
    old = '{web: {build: {dockerfile: Old}, ports: ["8000:8000"]}}'
    project.write("compose.override.yml", f"services: {old}\n")
    more = '"fastapi>=0.115", "celery", "psycopg"'
    project.edit("pyproject.toml", '"fastapi>=0.115"', more)
    project.edit("pyproject.toml", 'name = "shop"', 'name = "Harbour.Site"')
    backend = '[tool.uv.build-backend]\nmodule-name = "shop"\n'
    project.write("pyproject.toml", project.read("pyproject.toml") + backend)
    lock(project.path)


COMPOSE = "move what you still need of it to compose.override.yaml, and delete it"
ALEMBIC = "`uv add alembic` and `uv run alembic init migrations`, or, without migrations, "
ALEMBIC += RECOPY.format("database=none")
OLDER = RECOPY.format("python_version={other}") + ", or commit .python-version if {python} is meant"
PACKAGE = "`uv add{} NAME` adds its package; code of your own goes into src"

# What can be found by reading files, and by uv and git.
EARLY = {
    clutter: [
        "tests is missing: move your tests there",
        "src/shop/main.py is missing: move your package there, or name the one that the image "
        "starts: " + RECOPY.format("package_name=NAME"),
        f"docker-compose.yml is in the way: {COMPOSE}",
        "Dockerfile.dockerignore is in the way: delete it: it takes the place of .dockerignore",
        "conftest.py is in the way: move it into tests, which the test image has",
        (
            "setup.cfg has pytest's settings: move them to [tool.pytest] in pyproject.toml, which the "
            "test image gets"
        ),
    ],
    go_without_alembic: [f"alembic.ini is missing: {ALEMBIC}", f"migrations is missing: {ALEMBIC}"],
    move_versions: [
        f"the image has Python {{python}}, and the project has {{other}}: {OLDER}",
        (
            "uv.lock has other versions than the last commit, fastapi 0.99.1 -> {fastapi}: `git checkout "
            "HEAD uv.lock` and `uv lock` keep those that pyproject.toml allows; commit uv.lock if the "
            "others are meant"
        ),
    ],
    leave_python_open: [f"the image has Python {{python}}, and the project has {{other}}: {OLDER}"],
    clash: [
        (
            "uv.lock: {any}shop:prod depends on uvicorn[standard]>=0.50 and your project depends on "
            "httptools<0.7: change one of these requirements in pyproject.toml, and run `uv lock`"
        )
    ],
}
# What only the installed project shows, first here and then in the image's place.
FASTAPI = {
    rename: [
        (
            "uv sync: Failed to build {any}: Expected a Python module at: src/harbour/__init__.py: "
            'set module-name = ["orders", "shop"] in [tool.uv.build-backend]'
        )
    ],
    be_no_package: [
        "uv run does not find shop: delete `package = false`, and add the [build-system] of uv_build",
    ],
    compile_a_package: [
        "tide has no wheel and must be compiled: " + RECOPY.format("build_packages=build-essential")
    ],
    hide_tests: [
        (
            "the test image does not collect src/shop/tests/test_price.py: move it into tests, under a "
            "name that begins with test_"
        )
    ],
    take_tools_of_dev: [
        "pytest in the image: ModuleNotFoundError: No module named 'six': "
        + PACKAGE.format(" --group test"),
    ],
    read_beside_the_code: [
        (
            "src/shop: FileNotFoundError: [Errno 2] No such file or directory: 'version.txt': move it "
            "into src: the image has no other folder"
        )
    ],
    move_the_health_check: ["GET /livez is answered with 404: answer it with 200, for any host"],
}
DJANGO = {
    misconfigure: [
        "shop: the settings ignore DATABASE_URL: `uv add dj-database-url` can read it",
        (
            "fields.E121 'max_length' must be a positive integer.: correct it; `uv run manage.py check` "
            "says where"
        ),
        (
            "GET /livez is answered with 404: answer it with 200, for any host, in a middleware before "
            "all others"
        ),
        "shop: the settings name pages, which the image lacks: move it into src",
        (
            "shop: nothing serves the static files: `uv add whitenoise`, and add its middleware after "
            "SecurityMiddleware"
        ),
    ],
    collect_elsewhere: [
        (
            "shop: the image does not find the static files: set STATIC_ROOT to the folder "
            '"staticfiles" beside src'
        )
    ],
    split_settings: [
        f"manage.py: ModuleNotFoundError: No module named 'debug_toolbar': {PACKAGE.format('')}"
    ],
    need_a_variable: [
        (
            "manage.py: KeyError: 'MAIL_HOST': the build sets ALLOWED_HOSTS, DATABASE_URL, SECRET_KEY: "
            "give other settings a default"
        )
    ],
}
JOB = {
    import_a_tool: [
        f"src/shop: ModuleNotFoundError: No module named 'pytest': {PACKAGE.format('')}"
    ]
}
SLOW = [("fastapi", FASTAPI), ("django", DJANGO), ("job", JOB)]
CASES = [
    *(pytest.param("fastapi", *case, id=case[0].__name__) for case in EARLY.items()),
    *(
        pytest.param(framework, *case, id=case[0].__name__, marks=pytest.mark.slow)
        for framework, cases in SLOW
        for case in cases.items()
    ),
]


def matches(line: str, expected: str, project: TrackedProject) -> bool:
    """Tell whether a line is as expected, whatever the versions of today."""
    fastapi = re.findall(r'name = "fastapi"\nversion = "([^"]*)', project.read("uv.lock"))
    python = require_python().version
    words = {"python": python, "other": another_python(), "fastapi": fastapi[0] if fastapi else ""}
    pattern = re.escape(expected).replace(r"\{any\}", ".*")
    for name, value in words.items():
        pattern = pattern.replace(rf"\{{{name}\}}", re.escape(value))
    return re.fullmatch(pattern, line) is not None


@pytest.mark.parametrize(("framework", "plant", "expected"), CASES)
def test_a_defect_is_named(
    framework: str, plant: Plant, expected: list[str], prepared: Prepared, tmp_path: Path
) -> None:
    """In one line, which says what to do, and nothing else is."""
    project = prepared.project(framework, tmp_path / "shop")
    plant(project)
    found = prepared.doctor(project, framework)
    pairs = zip(found, expected, strict=True)
    assert all(matches(*pair, project) for pair in pairs), (found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ANSWERS)
def test_nothing_is_missing(framework: str, prepared: Prepared, tmp_path: Path) -> None:
    """From a project that has all, though one line says what could not be asked."""
    project = prepared.project(framework, tmp_path / "shop")
    assert prepared.doctor(project, framework) == [UNCHECKED, NOTHING]
    assert project.changes == []


COMPOSED: dict[Plant, list[str]] = {
    mix_compose_files: [
        "docker compose config: env file .env not found: correct docker-compose.override.yml"
    ],
    outgrow_compose: [
        "docker compose builds web from Old: delete `build` from compose.override.yml",
        (
            "docker compose publishes port 8000 twice: delete `ports` from compose.override.yml, or "
            "publish another"
        ),
        (
            "celery needs a second process, and nothing starts it: add a service with its command "
            "to compose.override.yaml"
        ),
        (
            "the project is for PostgreSQL, and compose.yaml has none: "
            + RECOPY.format("database=postgres")
            + ", or add yours to compose.override.yaml"
        ),
        (
            "the image is named shop, and the project harbour-site: "
            + RECOPY.format("project_name=harbour-site")
        ),
    ],
}


def test_a_file_of_settings_is_no_project(prepared: Prepared, tmp_path: Path) -> None:
    project = prepared.project("fastapi", tmp_path / "shop")
    project.write("pyproject.toml", "[tool.ruff]\n")
    assert prepared.doctor(project, "fastapi") == [
        "pyproject.toml has no project with a name: `uv init --bare` makes one"
    ]


def test_each_entry_of_the_fragment_is_asked_for(prepared: Prepared, tmp_path: Path) -> None:
    """But not its value: another range and settings of one's own are fine."""
    project = prepared.project("fastapi", tmp_path / "shop")
    pyproject, fragment = (project.read(f"pyproject{n}.toml") for n in ("", ".fragment"))
    lines = re.findall(r'^(?:    ["{].*|(?:required|exclude).*)\n', fragment, re.MULTILINE)
    assert len(lines) > 8
    for line in (lines[0], lines[-1], '    { include-group = "test" },\n'):
        project.write("pyproject.toml", pyproject.replace(line, "", 1))
        first = prepared.doctor(project, "fastapi")[0]
        assert first.startswith("pyproject.toml: no "), line
        assert first.endswith(": `uv run adopt.py merge` adds it")
    text = pyproject.replace("uvicorn[standard]~=0.50", "uvicorn>=0.30").replace("= 100", "= 79")
    project.write("pyproject.toml", text)
    assert prepared.doctor(project, "fastapi") == [
        (
            "uv.lock: The lockfile at `uv.lock` needs to be updated, but `--check` was provided.: "
            "run `uv lock`"
        )
    ]


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("plant", COMPOSED, ids=[plant.__name__ for plant in COMPOSED])
def test_what_compose_makes_of_its_files_is_named(
    plant: Plant, prepared: Prepared, tmp_path: Path
) -> None:
    """Of all that it reads, whoever wrote them."""
    if problem := engine_problem():
        pytest.skip(f"no container engine: {problem}")
    project = prepared.project("fastapi", tmp_path / "shop")
    plant(project)
    assert prepared.doctor(project, "fastapi", docker=True) == COMPOSED[plant]


@pytest.mark.docker
@pytest.mark.slow
def test_a_second_process_has_a_service(prepared: Prepared, tmp_path: Path) -> None:
    """As the guide has it: then the doctor asks for none."""
    if problem := engine_problem():
        pytest.skip(f"no container engine: {problem}")
    project = prepared.project("fastapi", tmp_path / "shop")
    project.edit("pyproject.toml", '"fastapi>=0.115"', '"fastapi>=0.115", "celery"')
    lock(project.path)
    project.write("compose.override.yaml", WORKER)
    assert prepared.doctor(project, "fastapi", docker=True) == [NOTHING]
