"""Base images, sources of Python and layouts: what each promises beyond what all images do.

The rows that the docstrings name are those of the articles that the template answers.
"""

import re
import shutil
import time
import uuid
from pathlib import Path

import pytest

from helpers.built_projects import BASES, FRAMEWORKS, MULTI_STAGE, SINGLE, STACKS, Stack, only
from helpers.docker_engine import STRICT, Image, docker, docker_ok
from helpers.git_repositories import template_repository
from helpers.profiles import QUESTIONNAIRE
from helpers.rendering import Render, copy

MANAGED = ["debian", "ubuntu", "cuda-service", "cuda-job", "compiled", "single-stage-debian"]


def test_standard_library_is_whole(stack: Stack) -> None:
    assert stack.python("import ssl, sqlite3, ctypes, zlib; print(ssl.OPENSSL_VERSION)")


@pytest.mark.stacks(*MULTI_STAGE)
def test_interpreter_is_the_same_in_builder_and_final_stage(stack: Stack) -> None:
    """S0.1, S4.1: where stages disagree on a path, an image builds and then fails at start."""
    where = "import sys, os; print(sys.executable, os.path.realpath(sys.executable), sys.prefix)"
    assert stack.python(where) == stack.python(where, target="dependencies")


@pytest.mark.stacks(*MULTI_STAGE)
def test_installed_programs_start(stack: Stack) -> None:
    """S4.1: their first line names an interpreter that is there."""
    files = stack.image().files()
    programs = [name for name in files if name.startswith("opt/venv/bin/")]
    scripts = stack.python(
        "import pathlib\n"
        "for path in sorted(pathlib.Path('/opt/venv/bin').iterdir()):\n"
        "    head = path.read_bytes()[:200].split(b'\\n')[0]\n"
        "    if head.startswith(b'#!') and b'python' in head: print(head[2:].decode())"
    ).split()
    assert programs
    assert set(scripts) <= {"/opt/venv/bin/python", "/opt/venv/bin/python3"}


@pytest.mark.stacks(*MANAGED)
def test_managed_python_is_the_only_one(stack: Stack) -> None:
    """S2.1: under /opt/python, which no home and no volume hides."""
    assert stack.python("import sys; print(sys.base_prefix)").startswith("/opt/python/cpython-")
    pythons = [
        name
        for name in stack.image().files()
        if re.search(r"/python3(\.\d+)?$", name) and not name.startswith(("opt/", "usr/share/"))
        if "/bin/" in name
    ]
    assert not pythons


@pytest.mark.stacks("ubuntu-apt")
def test_ubuntu_brings_its_own_python(stack: Stack) -> None:
    """S1.2"""
    assert stack.python("import sys; print(sys.base_prefix)") == "/usr"
    packages = docker_ok(
        "run", "--rm", "--entrypoint=dpkg-query", stack.image().reference,
        "--show", "--showformat=${Package}\n",
    ).split()  # fmt: skip
    unwanted = re.compile(r"python3.*-(venv|pip|dev)|.*-dev|gcc.*-base-.*")
    assert [name for name in packages if name.startswith("python3.14")]
    assert not [name for name in packages if unwanted.fullmatch(name)]


@pytest.mark.stacks(*BASES)
def test_apt_leaves_no_lists_behind(stack: Stack) -> None:
    leftover = re.compile(r"var/(lib/apt/lists|cache/apt)/.*(Packages|\.deb|\.bin)")
    assert not [name for name in stack.image().files() if leftover.search(name)]


@pytest.mark.stacks(*only("fastapi", "job", of={n: BASES[n] for n in BASES if "cuda" in n}))
def test_cuda_says_what_it_wants_of_the_driver(stack: Stack) -> None:
    """S3.1"""
    environment = stack.image().config()["Env"]
    assert isinstance(environment, list)
    assert "NVIDIA_VISIBLE_DEVICES=all" in environment
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in environment


@pytest.mark.parametrize(
    "options",
    [
        ("--user=42420:42420", "--env=HOME=/workspace", "--tmpfs=/workspace:uid=42420"),
        ("--user=1000680000:0",),
    ],
    ids=["a platform that mounts over HOME", "a platform with a random user"],
)
def test_any_user_and_any_home_will_do(stack: Stack, options: tuple[str, ...]) -> None:
    """S3.2: nothing that is needed at start lies under HOME, and the user has a name."""
    package = stack.package.name
    code = f"import getpass, {package}.logs; print(getpass.getuser())"
    assert stack.python(code, *options) == "app"


@pytest.mark.stacks("django-postgres", "fastapi-none", "job-none", *SINGLE)
def test_host_files_stay_on_the_host(stack: Stack, tmp_path: Path) -> None:
    """S3.3: the image is the same whatever lies about in the folder."""
    before = stack.image()
    project = tmp_path / stack.project.name
    shutil.copytree(stack.project, project)
    cached = f"src/{stack.package.name}/__pycache__/y.pyc"
    for name in (".env", ".venv/bin/python", "id_rsa", ".git/config", cached):
        file = project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("only here")
    littered = Stack(stack.name, stack.answers, project)
    try:
        image = littered.build()
        inside = [name for name in image.files() if name.startswith("app/")]
        assert not [name for name in inside if re.search(r"\.env|\.venv|id_rsa|\.git|y\.pyc", name)]
        assert before.layers() == image.layers()
    finally:
        littered.remove_images()


@pytest.mark.stacks("compiled")
def test_dependency_without_a_wheel_is_compiled(stack: Stack, tmp_path: Path) -> None:
    """The compiler does not ship, what it made does."""
    project = tmp_path / stack.project.name
    shutil.copytree(stack.project, project)
    manifest = project / "pyproject.toml"
    manifest.write_text(
        manifest.read_text().replace("dependencies = [", 'dependencies = [\n    "pyfarmhash",', 1)
    )
    docker_ok("buildx", "bake", "lock", cwd=project)
    compiled = Stack(stack.name, stack.answers, project)
    try:
        compiled.built["production"] = compiled.build()
        assert compiled.python("import farmhash; print(farmhash.__file__)").endswith(".so")
        programs = {Path(name).name for name in compiled.image().files() if "/bin/" in name}
        assert not programs & {"gcc", "cc", "g++", "make", "ld"}
    finally:
        compiled.remove_images()


# Prints the modules of a package whose bytecode Python would find too old and make again.
STALE = """
from importlib.util import cache_from_source
from pathlib import Path
import struct
print([
    str(path)
    for path in Path("/opt/venv").glob("lib/python*/site-packages/numpy/**/*.py")
    for flags, modified in [struct.unpack("<4xLL", Path(cache_from_source(path)).read_bytes()[:12])]
    if flags or modified != int(path.stat().st_mtime)
])
"""


def shipped(image: Image, before: Image) -> list[str]:
    """Return the files in the layers of an image that an earlier one does not have."""
    new = [layer for layer in image.layers() if layer not in before.layers()]
    return [path for layer in new for path in image.layer_files(layer)]


@pytest.mark.parametrize("build_packages", ["", "build-essential"], ids=["in place", "compiled"])
def test_torch_has_a_layer_of_its_own(template: Path, tmp_path: Path, build_packages: str) -> None:
    """S3.1: no change of another dependency ships it again.

    A smaller package stands in for PyTorch: its layer is made in the same way, and three
    gigabytes stay where they are.
    """
    answers = {
        "framework": "fastapi",
        "database": "none",
        "base_image": "cuda",
        "accelerator": "torch",
        "build_packages": build_packages,
    }
    project = copy(template, tmp_path / "service", answers).path
    manifest = project / "pyproject.toml"
    manifest.write_text(re.sub(r'"torch[^"]*"', '"numpy"', manifest.read_text()))
    stack = Stack("torch", answers, project)

    def build() -> Image:
        docker_ok("buildx", "bake", "lock", cwd=project)
        return stack.build()

    try:
        before = build()
        text = manifest.read_text()
        manifest.write_text(text.replace("dependencies = [", 'dependencies = [\n    "six",', 1))
        after = build()
        new = shipped(after, before)
        assert any(name.endswith("/site-packages/six.py") for name in new)
        assert not [name for name in new if "/numpy/" in name]
        stack.built["production"] = after
        assert stack.python(STALE) == "[]"
        manifest.write_text(re.sub(r'"numpy"', '"numpy<2.4"', manifest.read_text()))
        assert any("/numpy/" in name for name in shipped(build(), after))
    finally:
        stack.remove_images()


@pytest.mark.stacks("compiled")
@pytest.mark.parametrize("target", ["production", "test", "dev"])
def test_run_time_packages_are_in_every_target(stack: Stack, target: str) -> None:
    assert any("libjemalloc.so" in name for name in stack.image(target).files())


@pytest.mark.stacks(*SINGLE)
def test_single_stage_keeps_uv_and_nothing_of_its_cache(stack: Stack) -> None:
    """S1.1: without the cache mount the layer would hold every file twice."""
    files = stack.image().files()
    assert "usr/local/bin/uv" in files
    assert not [name for name in files if name.startswith("root/.cache/")]
    environment = sum(item.size for name, item in files.items() if name.startswith("opt/venv/"))
    largest = docker_ok(
        "history",
        "--no-trunc",
        "--human=false",
        "--format={{.Size}} {{.CreatedBy}}",
        stack.image().reference,
    ).splitlines()
    (sync,) = (int(line.split()[0]) for line in largest if "uv sync" in line)
    assert sync < 1.3 * environment


@pytest.mark.stacks("single-stage")
def test_single_stage_moves_to_multi_stage(stack: Stack, template: Path, tmp_path: Path) -> None:
    """S1.1: one answer in an update, on a project with code and a dependency of its own."""
    releases = template_repository(template, tmp_path / "slipway")
    tracked = releases.copy(tmp_path / stack.project.name, stack.answers)
    package = stack.package.name
    tracked.write(f"src/{package}/mine.py", "import six\n")
    tracked.edit("pyproject.toml", "dependencies = [\n", 'dependencies = [\n    "six",\n')
    moved = Stack(stack.name, stack.answers, tracked.path)
    docker_ok("buildx", "bake", "lock", cwd=tracked.path)
    try:
        moved.built["production"] = moved.build()
        before = moved.python(f"import {package}.mine as m; print(m.six.__version__)")
        tracked.update({"image_layout": "multi-stage"})
        assert tracked.conflicts == []
        moved = Stack(
            stack.name,
            {**stack.answers, "image_layout": "multi-stage"},
            tracked.path,
            {},
            moved.builds,
        )
        assert moved.python(f"import {package}.mine as m; print(m.six.__version__)") == before
        assert "usr/local/bin/uv" not in moved.image().files()
    finally:
        moved.remove_images()


@pytest.mark.stacks(*SINGLE)
def test_single_stage_takes_its_groups_from_compose(stack: Stack) -> None:
    """S0.4: the same Dockerfile, with the development group by a build argument."""
    dev = "debug_toolbar" if stack.framework == "django" else "fastapi_cli"
    assert not [name for name in stack.image().files() if f"/{dev}/" in name]
    docker_ok("compose", "--project-name", f"slipway-{stack.name}", "build", "web",
              cwd=stack.project)  # fmt: skip
    reference = f"slipway-{stack.name}-web"
    try:
        docker_ok("run", "--rm", *STRICT, "--entrypoint=python", reference, "-c", f"import {dev}")
    finally:
        docker("image", "rm", "--force", reference)


@pytest.mark.stacks(*FRAMEWORKS)
def test_dev_target_has_the_tools(stack: Stack) -> None:
    """S4.3"""
    docker_ok("run", "--rm", *STRICT, "--entrypoint=python", stack.image("dev").reference,
              "-c", "import pytest, mypy")  # fmt: skip


@pytest.mark.stacks("compiled")
def test_multi_stage_is_half_of_single_stage(stack: Stack, tmp_path: Path, template: Path) -> None:
    """S2.3, S4.4: half the image, and half the time after an edit of the version."""
    folder = tmp_path / "single" / stack.project.name
    answers = {**stack.answers, "image_layout": "single-stage"}
    copy(template, folder, answers)
    docker_ok("buildx", "bake", "lock", cwd=folder)
    single = Stack(f"{stack.name}-single", answers, folder)
    multi_folder = tmp_path / "multi" / stack.project.name
    shutil.copytree(stack.project, multi_folder)
    multi = Stack(stack.name, stack.answers, multi_folder)
    try:
        sizes, times = {}, {}
        for layout in (single, multi):
            sizes[layout.name] = layout.build().size()
            manifest = layout.project / "pyproject.toml"
            # One that no earlier run has left in the cache.
            version = f'version = "0.1.0+{uuid.uuid4().hex}"'
            manifest.write_text(manifest.read_text().replace('version = "0.1.0"', version))
            docker_ok("buildx", "bake", "lock", cwd=layout.project)
            begin = time.monotonic()
            layout.build()
            times[layout.name] = time.monotonic() - begin
    finally:
        single.remove_images()
        multi.remove_images()
    size, seconds = (found[multi.name] / found[single.name] for found in (sizes, times))
    print(f"multi-stage against single-stage: size {size:.2f}, time {seconds:.2f}")
    assert size < 0.5
    assert seconds < 0.5


@pytest.mark.parametrize("name", ["base_image", "python_source", "image_layout"])
def test_every_choice_is_built_somewhere(name: str, render: Render) -> None:
    """A fifth base image cannot be forgotten here."""
    (question,) = (question for question in QUESTIONNAIRE.closed if question.name == name)
    built = {render(**answers).answers[name] for answers in STACKS.values()}
    assert built == {choice.value for choice in question.choices}
