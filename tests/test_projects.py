"""The generated projects pass their own checks, step by step as their owners would take them.

Each check that matters is also seen to fail on a mistake that it is there for.
"""

import json
import os
import random
import re
import shlex
import shutil
import string
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, FileSystemLoader
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers.first_models import SECTIONS, write_model
from helpers.host_python import require_python
from helpers.markdown_commands import section, steps
from helpers.postgresql import REQUIRES_POSTGRESQL, PostgresServer
from helpers.profiles import QUESTIONNAIRE, ROOT, Answers
from helpers.rendering import Render
from helpers.user_commands import Workshop, free_port, generate

pytestmark = pytest.mark.slow

FRAMEWORKS = QUESTIONNAIRE.factors["framework"]


def gpu(framework: str, database: str, accelerator: str) -> Answers:
    """Return the answers of a project on CUDA's base image."""
    answers = {"framework": framework, "database": database}
    return answers | {"base_image": "cuda", "accelerator": accelerator}


# The projects that the tests are about, by name. What an answer puts into the code is in them.
PLAIN: dict[str, Answers] = {
    "-".join(stack): {"framework": stack[0], "database": stack[1]}
    for stack in sorted({(row["framework"], row["database"]) for row in QUESTIONNAIRE.rows})
}
# CUDA's base image brings code of its own. What needs PyTorch itself is a test of its own below.
GPU: dict[str, Answers] = {
    "django-cuda": gpu("django", "sqlite", "none"),
    "fastapi-cuda": gpu("fastapi", "none", "none"),
    "fastapi-torch": gpu("fastapi", "none", "torch"),
    "fastapi-postgres-torch": gpu("fastapi", "postgres", "torch"),
    "job-cuda": gpu("job", "none", "none"),
    "job-torch": gpu("job", "none", "torch"),
    "job-postgres-cuda": gpu("job", "postgres", "none"),
}
STACKS = PLAIN | GPU
TORCH = [name for name, answers in GPU.items() if answers["accelerator"] == "torch"]


def grouped(*groups: str) -> dict[str, Answers]:
    """Return a project of each framework with those dependency groups alone."""
    return {
        "-".join((f, "only", *groups)): {"framework": f, "dependency_groups": list(groups)}
        for f in FRAMEWORKS
    }


BARE, DOCUMENTED, TESTED = grouped(), grouped("docs"), grouped("test")
PROJECTS = STACKS | BARE | DOCUMENTED | TESTED
# Those whose message a test follows.
STARTED = {name: answers for name, answers in (STACKS | BARE).items() if name not in TORCH}


def of(projects: dict[str, Answers], *frameworks: str) -> list[str]:
    """Return the names of the projects whose framework is one of those."""
    return [name for name, answers in projects.items() if answers["framework"] in frameworks]


POSTGRES = [name for name, answers in STACKS.items() if answers["database"] == "postgres"]
ALEMBIC = [name for name in of(STACKS, "fastapi", "job") if name in POSTGRES]

# What the page at `/` holds.
FRONT = {"django": "<h1>My Service</h1>", "fastapi": "swagger-ui"}

# Prints the modules that each of some distributions installs.
MODULES = """
import importlib.metadata, json, re, sys
modules = {name: [] for name in sys.argv[1:]}
for module, distributions in importlib.metadata.packages_distributions().items():
    for distribution in distributions:
        modules.setdefault(re.sub("[-_.]+", "-", distribution).lower(), []).append(module)
print(json.dumps({name: modules[name] for name in sys.argv[1:]}))
"""


def on(names: Iterable[str]) -> pytest.MarkDecorator:
    """Run a test in each of some projects, all of one project on one worker."""
    params = [pytest.param(n, marks=pytest.mark.xdist_group(f"project {n}")) for n in names]
    return pytest.mark.parametrize("workshop", params, indirect=True)


@pytest.fixture(scope="session")
def workshops(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Workshop]:
    """A function that returns a project by name, locked and installed once a session.

    It lies in a git repository, with all its files in the index. What a test changes, it undoes.
    """
    made: dict[str, Workshop] = {}

    def workshop(name: str) -> Workshop:
        if name not in made:
            answers = PROJECTS[name] | {"python_version": require_python().version}
            new = generate(template, tmp_path_factory.mktemp("project") / "my-service", answers)
            new.ok("uv lock")
            new.ok("uv sync --locked")
            new.ok("git init --quiet")
            new.ok("git add --all")
            made[name] = new
        return made[name]

    return workshop


@pytest.fixture
def workshop(request: pytest.FixtureRequest, workshops: Callable[[str], Workshop]) -> Workshop:
    """The project that `on` names."""
    return workshops(request.param)


@contextmanager
def planted(workshop: Workshop, text: str) -> Iterator[None]:
    """Have one more module in the project's package for a while."""
    with workshop.changed(workshop.sources / "planted.py", text):
        yield


def leftovers(workshop: Workshop) -> list[str]:
    """Return the files that neither came with the project nor are ignored by git."""
    return workshop.ok("git ls-files --others --exclude-standard").splitlines()


def clean(workshop: Workshop) -> None:
    """Remove what running the project leaves: settings and data, but not the environment."""
    workshop.ok("git clean -dffxq --exclude=/.venv")


@on(STACKS)
def test_the_lock_fits(workshop: Workshop) -> None:
    workshop.ok("uv lock --check")
    pyproject = workshop.path / "pyproject.toml"
    text = pyproject.read_text().replace("dependencies = [", 'dependencies = [\n    "packaging",')
    with workshop.changed(pyproject, text):
        workshop.fails("uv lock --check", "needs to be updated")


@on(STACKS)
def test_ruff_finds_nothing(workshop: Workshop) -> None:
    workshop.ok("uv run ruff check")
    with planted(workshop, "import os\n\nassert True\n"):
        workshop.fails("uv run ruff check --output-format concise", "F401")
        workshop.fails("uv run ruff check --output-format concise", "S101")


@on(STACKS)
def test_ruff_would_change_nothing(workshop: Workshop) -> None:
    workshop.ok("uv run ruff format --check")
    with planted(workshop, "x = {  }\n"):
        workshop.fails("uv run ruff format --check", "planted.py")


@on(STACKS)
def test_types_are_right(workshop: Workshop) -> None:
    workshop.ok("uv run mypy")
    with planted(workshop, "def f(x):\n    return x\n"):
        workshop.fails("uv run mypy", "no-untyped-def")


@on(STACKS)
def test_its_tests_pass_and_cover(workshop: Workshop) -> None:
    """Also beside the settings of a developer's machine; the test group's has none."""
    settings = (workshop.path / ".env.example").read_text()
    with workshop.changed(workshop.path / ".env", settings):
        workshop.ok("uv run pytest --cov")
    workshop.fails("uv run pytest --cov tests/test_logs.py", "Required test coverage of 90")


@pytest.mark.docker
@on(POSTGRES)
def test_its_tests_pass_on_postgresql(workshop: Workshop, postgresql: PostgresServer) -> None:
    """In a database of their own, which is gone afterwards."""
    url = postgresql.new_database()
    before = postgresql.databases()
    planted = REQUIRES_POSTGRESQL[workshop.project.answers["framework"]]
    with workshop.changed(workshop.path / "tests" / "test_planted.py", planted):
        workshop.ok("uv run pytest --cov", DATABASE_URL=url)
        workshop.fails("uv run pytest tests/test_planted.py", "AssertionError")
    assert postgresql.databases() == before


@on(STACKS)
def test_its_tests_fail_on_a_warning(workshop: Workshop) -> None:
    text = 'import warnings\n\n\ndef test() -> None:\n    warnings.warn("planted")\n'
    with workshop.changed(workshop.path / "tests" / "test_planted.py", text):
        workshop.fails("uv run pytest tests/test_planted.py", "UserWarning: planted")


@on(STACKS)
def test_hooks_pass(workshop: Workshop, tmp_path: Path) -> None:
    home = str(tmp_path)
    workshop.ok("uv run prek validate-config", PREK_HOME=home)
    workshop.ok("uv run prek run --all-files", PREK_HOME=home)
    assert workshop.ok("git diff --name-only") == ""
    with planted(workshop, "import os\n"):
        workshop.ok("git add --all")
        workshop.fails("uv run prek run --all-files", "Failed", PREK_HOME=home)
    workshop.ok("git add --all")


@on(STACKS)
def test_a_wheel_holds_the_package_alone(workshop: Workshop, tmp_path: Path) -> None:
    """No network: uv brings the build backend along."""
    workshop.ok(f"uv build --offline --wheel --out-dir {shlex.quote(str(tmp_path))}")
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    folder = workshop.sources
    modules = {str(path.relative_to(folder.parent)) for path in folder.rglob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} >= modules
    assert {name.split("/")[0].split("-")[0] for name in names} == {workshop.package}


@on(STACKS)
def test_modules_of_direct_dependencies_are_no_package_names(workshop: Workshop) -> None:
    loader = FileSystemLoader(ROOT)
    filters = ["jinja2_ansible_filters.AnsibleCoreFiltersExtension"]
    jinja = Environment(loader=loader, extensions=filters)
    questions: Any = jinja.get_template("template/parts/questions.jinja").module
    settings = tomllib.loads((workshop.path / "pyproject.toml").read_text())
    lists = [settings["project"]["dependencies"], *settings["dependency-groups"].values()]
    required = [item for items in lists for item in items if isinstance(item, str)]
    names = sorted({canonicalize_name(Requirement(item).name) for item in required} - {"torch"})
    # Quiet, as uv says so beside the output where it builds the project anew.
    command = shlex.join(["uv", "run", "--quiet", "python", "-c", MODULES, *names])
    installed = {module for found in json.loads(workshop.ok(command)).values() for module in found}
    modules = {n for n in installed - {workshop.package} if n.isidentifier() and n == n.lower()}
    assert len(modules) > 5
    assert sorted(n for n in modules if not questions.package_problem(n)) == []
    assert questions.package_problem(workshop.package) == ""


@on(of(STACKS, "django"))
def test_migrations_are_complete(workshop: Workshop) -> None:
    command = "uv run manage.py makemigrations --check --dry-run"
    settings = (workshop.path / ".env.example").read_text()
    models = workshop.sources / "users" / "models.py"
    options = '\n    class Meta(AbstractUser.Meta):\n        verbose_name = "planted"\n'
    with workshop.changed(workshop.path / ".env", settings):
        workshop.ok(command)
        with workshop.changed(models, models.read_text() + options):
            workshop.fails(command, "Change Meta options on user")


@on(of(STACKS, "django"))
def test_production_settings_are_safe(workshop: Workshop) -> None:
    characters = string.ascii_letters + string.digits
    production = {
        "SECRET_KEY": "".join(random.Random(0).choices(characters, k=64)),
        "ALLOWED_HOSTS": "www.example.com",
        "DATABASE_URL": "sqlite:////data/db.sqlite3"
        if workshop.project.answers["database"] == "sqlite"
        else "postgresql://app:secret@database.example.com/app",
    }
    command = "uv run manage.py check --deploy --fail-level WARNING"
    workshop.ok(command, **production)
    workshop.fails(command, "security.W009", **production | {"SECRET_KEY": "short"})
    workshop.fails(command, "security.W008", **production, SECURE_SSL_REDIRECT="false")
    workshop.fails(command, "ALLOWED_HOSTS", **production | {"ALLOWED_HOSTS": ""})


def check_revisions(workshop: Workshop, url: str) -> None:
    """Check that the migrations make the models' tables, that Alembic misses one, and back."""
    models = workshop.sources / "models.py"
    table = (
        '\n\nclass Planted(Base):\n    __tablename__ = "planted"\n\n'
        "    number: Mapped[int] = mapped_column(primary_key=True)\n"
    )
    workshop.ok("uv run alembic upgrade head", DATABASE_URL=url)
    workshop.ok("uv run alembic check", DATABASE_URL=url)
    with workshop.changed(models, models.read_text() + table):
        workshop.fails("uv run alembic check", "add_table", DATABASE_URL=url)
    workshop.ok("uv run alembic downgrade base", DATABASE_URL=url)
    workshop.ok("uv run alembic upgrade head", DATABASE_URL=url)


@on(ALEMBIC)
def test_revisions_are_complete(workshop: Workshop, tmp_path: Path) -> None:
    check_revisions(workshop, f"sqlite:///{tmp_path}/db.sqlite3")


@pytest.mark.docker
@on(ALEMBIC)
def test_revisions_are_complete_on_postgresql(
    workshop: Workshop, postgresql: PostgresServer
) -> None:
    check_revisions(workshop, postgresql.new_database())


@on(of(STARTED, "django", "fastapi"))
def test_the_message_ends_in_a_page(workshop: Workshop) -> None:
    port = free_port()
    framework = workshop.project.answers["framework"]
    option = f" {port}" if framework == "django" else f" --port {port}"
    try:
        page = workshop.served(workshop.host_command + option, f"http://127.0.0.1:{port}/")
        assert FRONT[framework] in page
        assert leftovers(workshop) == []
    finally:
        clean(workshop)


@on(of(STARTED, "job"))
def test_the_message_ends_in_a_result(workshop: Workshop) -> None:
    try:
        workshop.ok(shlex.join(["sh", "-c", workshop.host_command]))
        results = workshop.path / "results.jsonl"
        if (workshop.sources / "training.py").exists():
            assert list((workshop.path / "training").glob("model.*"))
        elif workshop.project.answers["database"] == "none":
            [line] = results.read_text().splitlines()
            assert json.loads(line)["id"] == "1"
            results.unlink()
        assert leftovers(workshop) == []
    finally:
        clean(workshop)


def commands_taken(readme: str, framework: str) -> tuple[int, int, int]:
    """Return how many commands a generated README takes, the copy included.

    They are counted to the first page, to the first model of one's own in the database, and to the
    same in containers. Who needs no admin yet makes no superuser.
    """
    run, _, contained = section(readme, "Run").partition("In containers")
    (host, containers) = (
        [line for line in steps(text) if "createsuperuser" not in line] for text in (run, contained)
    )
    growth = steps(section(readme, SECTIONS[framework]))
    tools = [
        line
        for line in steps(section(readme, "Work in containers"))
        if "startapp" in line or "migrat" in line or "alembic" in line
    ]
    lock = len(re.findall(r"Without uv, `docker buildx bake lock` writes it", run))
    page = 1 + len(host)
    return page, page + len(growth), 1 + lock + len(containers) + len(tools)


def test_the_readme_counts_the_commands(render: Render) -> None:
    """Which the tests of a first model execute."""
    counted = {
        framework: commands_taken(render(framework=framework).read("README.md"), framework)
        for framework in SECTIONS
    }
    print(counted)
    rows = re.findall(
        r"^\| (?:the .+?) \| (\d+) \| (\d+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert [tuple(map(int, row)) for row in rows] == list(zip(*counted.values(), strict=True))


# Stores a boat in the database and prints the number of its row.
STORE = {
    "django": """
from my_service.shop.models import Boat
print("row", Boat.objects.create(name="Argo").pk)
""",
    "fastapi": """
from fastapi.testclient import TestClient
from my_service.main import app
with TestClient(app) as client:
    print("row", client.post("/boats", json={"name": "Argo"}).json())
""",
}


@on(["django-postgres", "fastapi-postgres"])
def test_a_first_model_gets_into_the_database(workshop: Workshop) -> None:
    """By the commands of the README. The project's own checks still pass then."""
    framework = workshop.project.answers["framework"]
    readme = workshop.project.read("README.md")
    commands = steps(section(readme, SECTIONS[framework]))
    try:
        for command in steps(section(readme, "Run").partition("In containers")[0])[:-1]:
            if "createsuperuser" not in command:
                workshop.ok(command)
        if framework == "django":
            assert '"my_service.shop" to INSTALLED_APPS' in workshop.ok(commands.pop(0))
        write_model(workshop.sources, framework)
        for command in commands:
            workshop.ok(command)
        run = "manage.py shell --command" if framework == "django" else "python -c"
        assert "row 1" in workshop.ok(f"uv run {run} {shlex.quote(STORE[framework])}")
        assert len([name for name in leftovers(workshop) if "migrations/" in name]) > 0
        workshop.ok("uv run ruff check --fix")
        workshop.ok("uv run ruff format")
        workshop.ok("uv run mypy")
        workshop.ok("uv run pytest")
    finally:
        workshop.ok("git checkout --quiet .")
        clean(workshop)


@on(["django-postgres"])
def test_an_app_gets_its_name_and_its_place(workshop: Workshop) -> None:
    shop = workshop.sources / "shop"
    workshop.ok("cp .env.example .env")
    try:
        workshop.ok("uv run manage.py startapp shop")
        assert 'name = "my_service.shop"' in (shop / "apps.py").read_text()
        # pytest would not look there.
        assert not (shop / "tests.py").exists()
        workshop.fails("uv run manage.py startapp shop", "already exists")
        workshop.fails("uv run manage.py startapp json", "conflicts with the name")
    finally:
        clean(workshop)


@on(f"{framework}-postgres" for framework in FRAMEWORKS)
def test_agents_are_told_what_works(workshop: Workshop) -> None:
    """Each command but Docker's and Copier's, which other tests run from the README and a guide."""
    text = workshop.project.read("AGENTS.md")
    assert len(text.splitlines()) <= 60
    lines = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    inline = re.findall(r"`((?:uv|uvx|docker) [^`]+)`", text)
    elsewhere = (workshop.project.read("README.md"), (ROOT / "docs/keeping-up.md").read_text())
    settings = (workshop.path / ".env.example").read_text()
    before = {name: (workshop.path / name).read_text() for name in ("pyproject.toml", "uv.lock")}
    try:
        with workshop.changed(workshop.path / ".env", settings):
            for command in [*lines, *inline]:
                if command.startswith("uv "):
                    workshop.ok(command.replace("NAME", "packaging"))
                else:
                    known = command.removesuffix(" -d NAME=VALUE")
                    assert any(known in document for document in elsewhere), command
        assert len(lines) > 5
        assert {command.split()[0] for command in inline} == {"uv", "uvx", "docker"}
    finally:
        for name, content in before.items():
            (workshop.path / name).write_text(content)
        workshop.ok("uv sync --locked")
        clean(workshop)
    assert leftovers(workshop) == []


@on(of(STACKS, "job"))
def test_a_job_explains_itself(workshop: Workshop) -> None:
    assert "--input" in workshop.ok(f"uv run python -m {workshop.package} --help")


@on(TORCH)
def test_with_pytorch_itself(workshop: Workshop, tmp_path: Path) -> None:
    """Nothing is skipped then, and PyTorch's own types fit."""
    if not os.environ.get("SLIPWAY_PYTORCH"):
        pytest.skip("this downloads 3 GB: set SLIPWAY_PYTORCH=1 to do it")
    # The environment of the other tests stays without it.
    place = {"UV_PROJECT_ENVIRONMENT": str(tmp_path / "venv")}
    try:
        said = workshop.ok("uv run --group gpu pytest --cov", **place)
        assert re.search(r"=+ \d+ passed in ", said)
        workshop.ok("uv run --group gpu mypy", **place)
    finally:
        shutil.rmtree(tmp_path / "venv", ignore_errors=True)


@on(TESTED)
def test_its_tests_need_no_other_group(workshop: Workshop) -> None:
    workshop.ok("uv run pytest --cov")


@on(DOCUMENTED)
def test_the_documentation_is_built(workshop: Workshop, tmp_path: Path) -> None:
    build = f"uv run --group docs sphinx-build --fail-on-warning docs {shlex.quote(str(tmp_path))}"
    workshop.ok(build)
    assert (tmp_path / "index.html").exists()
    index = workshop.path / "docs" / "index.md"
    with workshop.changed(index, index.read_text() + "\n[planted](nowhere.md)\n"):
        workshop.fails(build, "nowhere.md")
    with workshop.changed(workshop.path / "docs" / "second.md", "# A second page\n"):
        workshop.ok(build)
        assert "second.html" in (tmp_path / "index.html").read_text()
    test_modules_of_direct_dependencies_are_no_package_names(workshop)
