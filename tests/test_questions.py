"""The questions: what they are called, what they refuse and how, and what is recorded of them."""

import keyword
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from copier import run_recopy
from jinja2 import Environment, FileSystemLoader, Template
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pytest_copier.plugin import CopierFixture

from helpers.commands import attempt
from helpers.file_formats import untidiness
from helpers.host_python import environment, require_python
from helpers.profiles import QUESTIONNAIRE, ROOT, SETTINGS, Answers
from helpers.rendering import Project, Render, copy, refusal

# What fits on a line of 80 columns behind "Validation error for question 'package_name': ".
LONGEST_REFUSAL = 38
MOST_ASKED = 8

# The interface that people script, as the reference documents it: each question's name, and its
# values where they are fixed, the default first.
REFERENCE = (ROOT / "docs/questions.md").read_text().partition("\n## ")[0]
DOCUMENTED = {
    name: list(dict.fromkeys(re.findall(r"`([^`]+)`", values)))
    for name, values in re.findall(r"^\| `(\w+)` \| (.*) \| .* \|$", REFERENCE, re.MULTILINE)
}
INTERFACE: dict[str, list[str] | None] = {
    name: DOCUMENTED[name] if any(q.name == name for q in QUESTIONNAIRE.closed) else None
    for name in DOCUMENTED
}
DATABASE_BY_DEFAULT = {"django": "postgres", "fastapi": "postgres", "job": "none"}

# Keys of copier.yml by which a template asks for --trust, sooner or later.
NEEDS_TRUST = {"_tasks", "_migrations", "_jinja_extensions"}

# Answers that are refused, by their question. test_text.py tries text in general.
REFUSED = {
    "project_name": ["", " "],
    "package_name": [
        *["", " ", ".", "..", "a/b", "../a", "/a", "a\\b", "a.b", "a-b", "a b", "a\n", "$a"],
        *["Abc", "1a", "_a", "a_", "é", "a" * 41, "{{ a }}"],
        *["import", "match", "json", "django", "fastapi", "sqlalchemy", "tests", "src"],
    ],
    "private_host": [
        *["", " ", "GitHub.com", "https://github.com", "github.com/acme", "git@github.com", "a b"],
        *["-a", "a:", "a:0", "a:x", "a:123456", "github.com\n", "{{ a }}"],
    ],
    "private_user": ["", " ", "a b", "a;b", "$a", "a'", 'a"', "-a", "a\n", "a:b", "a" * 101],
    "private_packages": ["billing @ https://github.com/billing.whl", "$a", "a\tb"],
    "private_index_url": [
        *[
            " ",
            "pypi.example.com",
            "http://pypi.example.com/",
            "https://",
            "https://a?b",
            "https://a b",
        ],
        *[
            "https://user:token@pypi.example.com/simple/",
            "https://token@a/",
            "https://a/\n",
            'https://"',
        ],
    ],
    "uv_version": ["", "latest", "0.13", "0.13.8\n", "0.13.8 ", "v0.13.8"],
}

# Lists of private packages by their kind, and why they are refused or that they are not.
GIT = "billing @ git+https://github.com/acme/billing.git"
SSH = "billing @ git+ssh://git@github.com/acme/billing.git"
HTTPS_FORM = "NAME @ git+https://HOST/PATH"
SSH_FORM = "NAME @ git+ssh://git@HOST/PATH"
INDEX_FORM = "requirements such as name~=1.0"
PRIVATE = [
    ("git-https", "", None),
    ("git-https", GIT, None),
    ("git-https", f"{GIT}@v1.2.0, ledger[a,b]@git+https://github.com/acme/ledger", None),
    (
        "git-https",
        f"{GIT}@feature/x#subdirectory=python/billing\n{GIT.replace('billing', 'b')}",
        None,
    ),
    ("git-https", f"{GIT} ; python_version < \"3.15\" and sys_platform == 'linux'", None),
    # Whether it makes sense is for uv to say.
    ("git-https", f"{GIT}@v1#egg=billing", None),
    ("git-https", f'{GIT} ; python_version < "3\\"', None),
    ("git-https", "billing", HTTPS_FORM),
    ("git-https", "billing==1.2", HTTPS_FORM),
    ("git-https", SSH, HTTPS_FORM),
    ("git-https", GIT.replace("https", "http"), HTTPS_FORM),
    ("git-https", "billing @ https://github.com/b.whl", HTTPS_FORM),
    ("git-https", f"@ {GIT[10:]}", HTTPS_FORM),
    ("git-https", f"{GIT}\t", HTTPS_FORM),
    ("git-https", GIT.replace("github", "gitlab"), "billing: not on github.com"),
    ("git-https", GIT.replace(".com", ".com.example.org"), "billing: not on github.com"),
    ("git-https", GIT.replace("https://", "https://a.b/") + "@https://github.com/",
     "billing: not on github.com"),
    ("git-https", GIT.replace("//", "//token@"), "no credentials in it, please"),
    ("git-https", GIT.replace("//", "//user:token@"), "no credentials in it, please"),
    ("git-https", f"{GIT}, Billing{GIT[7:]}", "billing is listed twice"),
    ("git-ssh", SSH, None),
    ("git-ssh", f"{SSH}@main", None),
    ("git-ssh", GIT, SSH_FORM),
    ("git-ssh", "billing @ git@github.com:acme/billing.git", SSH_FORM),
    ("git-ssh", SSH.replace("git@", "git:password@"), "no credentials in it, please"),
    ("git-ssh", SSH.replace("github", "gitlab"), "billing: not on github.com"),
    ("index", "billing", None),
    ("index", "billing>=1,<2, ledger[a, b]~=1.0; python_version >= '3.12'", None),
    ("index", "billing==1.*\nledger", None),
    ("index", "billing 1.2", None),
    ("index", GIT, INDEX_FORM),
    ("index", "--index-url https://example.com", INDEX_FORM),
    ("index", "--pre", INDEX_FORM),
    ("index", "billing @ https://user:token@example.com/b.whl", "no credentials in it, please"),
    ("index", "billing, billing", "billing is listed twice"),
    ("index", "b" * 2001, "at most 2000 characters"),
]  # fmt: skip

# The package that a project gets in a folder of some name, when nobody is asked.
PACKAGES = {
    "my-cool.service": "my_cool_service",
    "CamelCase": "camelcase",
    ".hidden": "hidden",
    "2nd-try_": "nd_try",
    "émile": "emile",
    "U\u0308ni\u0308code Café": "unicode_cafe",
    "Łódź-Straße": "lodz_strasse",
    "123": "app",
    "日本": "app",
    "django": "django_app",
    "json": "json_app",
    "rust-just": "rust_just_app",
    "a" * 60: "a" * 40,
}


@pytest.fixture(scope="session")
def taken(template: Path) -> dict[str, set[str]]:
    """The lists of taken names, each by what it is called."""
    module: Any = (
        Environment(loader=FileSystemLoader(template))
        .get_template("template/parts/taken_names.jinja")
        .module
    )
    lists = ["keywords", "standard_library", "dependencies", "folders"]
    return {name: set(getattr(module, name).split()) for name in lists}


@pytest.fixture(scope="session")
def package_problem(template: Path) -> Callable[[str], str]:
    """What the validator of `package_name` says of a name, without a whole copy."""
    jinja = Environment(
        loader=FileSystemLoader(template),
        extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
    )
    validator = jinja.from_string(QUESTIONNAIRE.details["package_name"]["validator"])
    return lambda name: validator.render(package_name=name).strip()


def top_level_modules(project: Project) -> set[str]:
    """Return what Python could import from the project's own folder."""
    modules = {
        f.parts[0] if len(f.parts) > 1 else f.stem for f in project.files if f.suffix == ".py"
    }
    return {name for name in modules if name.isidentifier()}


def test_nothing_needs_trust() -> None:
    assert not NEEDS_TRUST & SETTINGS.keys()


def test_the_oldest_copier_is_the_one_that_is_tested() -> None:
    dev = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    oldest = SETTINGS["_min_copier_version"]
    assert f"copier>={oldest.removesuffix('.0')},<{int(oldest.split('.')[0]) + 1}" in dev


def test_names_and_values_are_those_of_the_interface() -> None:
    assert set(INTERFACE) == set(QUESTIONNAIRE.details)
    for question in QUESTIONNAIRE.closed:
        values = [choice.value for choice in question.choices]
        if QUESTIONNAIRE.details[question.name]["default"] is True:
            values.reverse()
        assert values == INTERFACE[question.name], question.name


@pytest.mark.parametrize("framework", DATABASE_BY_DEFAULT)
def test_defaults(framework: str, render: Render) -> None:
    answers = render(framework=framework).answers
    for question in QUESTIONNAIRE.closed:
        if question.name == "database":
            assert answers["database"] == DATABASE_BY_DEFAULT[framework]
        elif question.name == "dependency_groups":
            assert answers["dependency_groups"] == ["test", "quality", "dev"]
        elif question.name != "framework":
            values = INTERFACE[question.name]
            assert values is not None
            assert str(answers[question.name]).lower() == values[0].lower()


@pytest.mark.parametrize("framework", DATABASE_BY_DEFAULT)
def test_few_questions_are_asked(framework: str, render: Render) -> None:
    """Who answers yes to private packages, CUDA or more settings is asked more."""
    answers = render(framework=framework).answers
    asks = {name: str(details.get("ask", True)) for name, details in QUESTIONNAIRE.details.items()}
    asked = [name for name, ask in asks.items() if Template(ask).render(answers) == "True"]
    assert 0 < len(asked) <= MOST_ASKED


@pytest.mark.parametrize(
    ("question", "answer"), [(name, answer) for name in REFUSED for answer in REFUSED[name]]
)
def test_a_bad_answer_is_refused_in_one_short_line(
    question: str, answer: str, template: Path, tmp_path: Path
) -> None:
    refused = refusal(template, tmp_path / "project", {question: answer})
    assert refused is not None, "it was taken"
    assert refused[0] == question
    assert refused[1].isprintable()
    assert 0 < len(refused[1]) <= LONGEST_REFUSAL


@pytest.mark.parametrize(("kind", "packages", "reason"), PRIVATE)
def test_private_packages_are_requirements_of_their_kind(
    kind: str, packages: str, reason: str | None, template: Path, tmp_path: Path
) -> None:
    answers = {"private_dependencies": kind, "private_packages": packages}
    refused = refusal(template, tmp_path / "project", answers)
    assert refused == (reason and ("private_packages", reason))
    if refused:
        assert len(f"Validation error for question '{refused[0]}': {refused[1]}") <= 80


def test_private_packages_are_dependencies_as_they_were_typed(
    template: Path, tmp_path: Path
) -> None:
    asked = [
        "billing[cards] @ git+https://github.com/acme/billing.git@v1.2.0",
        "ledger @ git+https://github.com/acme/books#subdirectory=python/ledger",
        "Tax_Rates@git+https://github.com/acme/tax.git@main#subdirectory=rates",
        'abacus @ git+https://github.com/acme/abacus.git ; python_version < "3.15"',
    ]
    answers = {"private_dependencies": "git-https", "private_packages": " ,".join(asked)}
    project = copy(template, tmp_path / "git", answers)
    settings = tomllib.loads(project.read("pyproject.toml"))
    assert settings["project"]["dependencies"][-4:] == asked
    assert "sources" not in settings["tool"]["uv"]

    url = "https://gitlab.com/api/v4/projects/1/packages/pypi/simple"
    answers = {"private_dependencies": "index", "private_index_url": url}
    answers["private_packages"] = "billing[cards]>=1,<2, ledger ; python_version < '3.15'"
    project = copy(template, tmp_path / "index", answers)
    settings = tomllib.loads(project.read("pyproject.toml"))
    assert settings["project"]["dependencies"][-2:] == [
        "billing[cards]>=1,<2", "ledger ; python_version < '3.15'"
    ]  # fmt: skip
    assert settings["tool"]["uv"]["sources"] == {
        "billing": {"index": "private"}, "ledger": {"index": "private"}
    }  # fmt: skip
    assert settings["tool"]["uv"]["index"] == [
        {
            "name": "private",
            "url": url,
            "explicit": True,
            "authenticate": "always",
            "exclude-newer": False,
        }
    ]


@pytest.mark.parametrize("text", ['"', "\\", "\\u0041", "{{ a }}", "{% if a %}", "${a} $(b)", "'#"])
def test_a_requirement_survives_as_it_is(text: str, template: Path, tmp_path: Path) -> None:
    asked = f"{GIT} ; os_name == {text}"
    answers = {"private_dependencies": "git-https", "private_packages": asked}
    project = copy(template, tmp_path / "project", answers)
    settings = tomllib.loads(project.read("pyproject.toml"))
    assert settings["project"]["dependencies"][-1] == asked


@pytest.mark.parametrize("requirement", ["billing 1.2", f"{GIT} ; os"])
def test_uv_says_which_requirement_is_wrong(
    requirement: str, template: Path, tmp_path: Path
) -> None:
    python = require_python()
    answers = {
        "private_dependencies": "git-https" if "git+" in requirement else "index",
        "private_packages": requirement,
        "python_version": python.version,
    }
    copy(template, tmp_path / "project", answers)
    locked = attempt("uv", "lock", cwd=tmp_path / "project", env=environment())
    assert locked.returncode != 0
    assert "Invalid metadata format in: pyproject.toml" in locked.stderr
    assert requirement in locked.stderr


def test_a_refusal_leaves_what_was_there(template: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "notes.txt").write_text("mine\n")
    with pytest.raises(ValueError, match="'package_name'"):
        copy(template, project, {"package_name": "1"})
    assert [path.name for path in project.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("value", ["flask", "Django   web application", "DJANGO", ""])
def test_only_the_values_of_a_choice_are_taken(value: str, template: Path, tmp_path: Path) -> None:
    refused = refusal(template, tmp_path / "project", {"framework": value})
    assert refused is not None
    assert refused[0] == "framework"


def test_taken_names_of_python_are_its_own(taken: dict[str, set[str]]) -> None:
    # No statement starts with `type.`, so that this soft keyword can be a name.
    keywords = {*keyword.kwlist, *keyword.softkwlist} - {"type"}
    assert taken["keywords"] == {name for name in keywords if re.fullmatch("[a-z]+", name)}
    # Those with an underscore in front no package can have anyway.
    library = {name for name in sys.stdlib_module_names if re.fullmatch("[a-z][a-z0-9_]*", name)}
    assert library <= taken["standard_library"]


@pytest.mark.parametrize("name", ["import", "match", "json", "django", "tests", "users"])
def test_a_taken_name_is_refused(name: str, package_problem: Callable[[str], str]) -> None:
    assert package_problem(name) == f"{name} is taken"
    assert package_problem(f"{name}_api") == ""


def test_no_package_hides_what_is_in_the_projects_folder(
    project: Project, package_problem: Callable[[str], str]
) -> None:
    assert [name for name in top_level_modules(project) if not package_problem(name)] == []


def test_direct_dependencies_are_taken(
    project: Project, package_problem: Callable[[str], str]
) -> None:
    """uv would take the project itself for the dependency, and find no solution."""
    if project.answers["adopt"]:
        pytest.skip("an adopted project has dependencies of its own")
    settings = tomllib.loads(project.read("pyproject.toml"))
    lists = [settings["project"]["dependencies"], settings["build-system"]["requires"]]
    lists += settings["dependency-groups"].values()
    required = [item for items in lists for item in items if isinstance(item, str)]
    names = {canonicalize_name(Requirement(item).name).replace("-", "_") for item in required}
    assert len(names) > 2
    assert sorted(name for name in names if not package_problem(name)) == []


@pytest.mark.parametrize(("folder", "package"), PACKAGES.items())
def test_any_folder_name_makes_a_package(
    folder: str, package: str, template: Path, tmp_path: Path
) -> None:
    assert copy(template, tmp_path / folder).answers["package_name"] == package
    assert refusal(template, tmp_path / "named", {"package_name": package}) is None


@pytest.mark.parametrize(
    ("folder", "name"),
    [("my-service", "My Service"), ("NC-Fa", "NC Fa"), ("eBay_tool", "eBay tool")],
)
def test_a_name_keeps_the_case_that_was_typed(
    folder: str, name: str, template: Path, tmp_path: Path
) -> None:
    project = copy(template, tmp_path / folder, {"framework": "fastapi"})
    assert project.answers["project_name"] == name
    package = project.answers["package_name"]
    assert f'title="{name}",' in project.read(f"src/{package}/app.py")


@pytest.mark.parametrize("text", ["", " ", " x", "x "])
@pytest.mark.parametrize("question", ["project_name", "description"])
def test_spaces_around_text_do_not_show(
    question: str, text: str, template: Path, tmp_path: Path
) -> None:
    if refusal(template, tmp_path / "project", {question: text}) is None:
        project = Project(tmp_path / "project")
        assert list(untidiness("README.md", project.read("README.md"))) == []


def test_each_answer_is_recorded(profile: Answers, project: Project) -> None:
    assert project.answers.keys() == QUESTIONNAIRE.details.keys()
    assert profile.items() <= project.answers.items()


def test_each_answer_survives_a_recopy(
    profile: Answers, copier: CopierFixture, tmp_path: Path
) -> None:
    """pytest-copier's template is a git repository with a tag, as a user's is."""
    text: dict[str, Any] = {
        "project_name": "Ünï \"quoted\" 'x' #1",
        "description": "C:\\new: {{ x }} %d $HOME 🚢",
        "package_name": "notes",
        "uv_version": "0.14.0",
    }
    folder = tmp_path / "project"
    before = copier.copy(folder, **profile | text).answers
    contents = {name: Project(folder).read(name) for name in Project(folder).files}
    assert (profile | text).items() <= before.items()
    run_recopy(folder, defaults=True, overwrite=True, quiet=True)
    assert {name: Project(folder).read(name) for name in Project(folder).files} == contents
