"""What must not stand in a Dockerfile: the traps that `docker build --check` and hadolint pass over.

Each rule is a function that yields findings. The docstring is what a person reads who fell for
it; the numbers are those of the list of traps that the rules come from.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from helpers.dockerfile_model import Command, Dockerfile, Instruction, Stage, expand


class Finding(NamedTuple):
    """A line of a Dockerfile that breaks a rule, and how."""

    line: int
    problem: str


Rule = Callable[[Dockerfile], Iterator[Finding]]
RULES: list[Rule] = []

# Variables that uv 0.13 reads and that can have a place in an image, without their UV_. Others
# are typing errors, or articles' inventions.
_UV_VARIABLES = """
    BREAK_SYSTEM_PACKAGES CACHE_DIR COMPILE_BYTECODE COMPILE_BYTECODE_TIMEOUT CONCURRENT_BUILDS
    CONCURRENT_DOWNLOADS CONCURRENT_INSTALLS CONFIG_FILE CREDENTIALS_DIR DEFAULT_INDEX
    EXCLUDE_NEWER EXTRA_INDEX_URL FIND_LINKS FROZEN HTTP_RETRIES HTTP_TIMEOUT INDEX
    INDEX_STRATEGY INDEX_URL KEYRING_PROVIDER LINK_MODE LOCKED MANAGED_PYTHON NATIVE_TLS
    NO_BINARY NO_BUILD NO_BUILD_ISOLATION NO_BUILD_PACKAGE NO_CACHE NO_CONFIG NO_DEFAULT_GROUPS
    NO_DEV NO_EDITABLE NO_ENV_FILE NO_GROUP NO_INSTALL_LOCAL NO_INSTALL_PROJECT
    NO_INSTALL_WORKSPACE NO_MANAGED_PYTHON NO_PROGRESS NO_PROJECT NO_SOURCES NO_SYNC OFFLINE
    PROJECT PROJECT_ENVIRONMENT PYTHON PYTHON_BIN_DIR PYTHON_CACHE_DIR PYTHON_DOWNLOADS PYTHON_INSTALL_DIR
    PYTHON_PREFERENCE REQUIRE_BUILD_HASHES REQUIRE_HASHES SYSTEM_CERTS SYSTEM_PYTHON
    TOOL_BIN_DIR TOOL_DIR TORCH_BACKEND VENV_CLEAR VENV_RELOCATABLE WORKING_DIR
"""
_INDEX_CREDENTIALS = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)")

# Debian's names of what compiles, downloads or clones.
_BUILD_TOOLS = re.compile(
    r"(build-essential|cargo|clang|cmake|curl|g\+\+|gcc|git|make|rustc|wget|uv|.*-dev)([-=].*)?"
)
_DEPENDENCY_FILES = re.compile(
    r"(\./)?(pyproject\.toml|uv\.(lock\*?|loc\[k\])|\.python-versio[n[]\]?|[\w-]+\.crt)"
)


def rule(function: Rule) -> Rule:
    """Add a function to the rules."""
    RULES.append(function)
    return function


def findings(dockerfile: Dockerfile) -> list[str]:
    """Return what all rules find, a line each, in the order of the file."""
    found = sorted({(f.line, r.__name__, f.problem) for r in RULES for f in r(dockerfile)})
    return [f"line {line}: {problem} ({name})" for line, name, problem in found]


@rule
def cache_mount_elsewhere(dockerfile: Dockerfile) -> Iterator[Finding]:
    """1. A cache mount that is not uv's cache folder: never used, and the cache stays in a layer."""
    for stage, run, command in _uv_commands(dockerfile):
        folder = _cache_folder(stage, run, command)
        for mount in run.mounts_of("cache"):
            target = mount.get("target", mount.get("dst", ""))
            if target != folder and not target.startswith(("/var/cache/apt", "/var/lib/apt")):
                yield Finding(run.line, f"cache mounted at {target}, uv's is {folder}")


@rule
def copies_without_a_cache_mount(dockerfile: Dockerfile) -> Iterator[Finding]:
    """2. Link mode copy without a cache mount: the layer holds every file twice."""
    for stage, run, command in _uv_commands(dockerfile):
        variables = stage.variables(run) | command.variables
        mode = command.value("--link-mode") or variables.get("UV_LINK_MODE")
        cached = run.mounts_of("cache") or command.has("--no-cache") or "UV_NO_CACHE" in variables
        if _installs(command) and mode == "copy" and not cached:
            yield Finding(run.line, "link mode copy without a cache mount")


@rule
def lock_not_checked(dockerfile: Dockerfile) -> Iterator[Finding]:
    """3. --frozen as the only gate, or none: a stale lock builds, and a dependency is missing."""
    unchecked, checked = [], False
    for stage, run, command in _uv_commands(dockerfile):
        variables = stage.variables(run) | command.variables
        if command.has("--locked", "--check") or "UV_LOCKED" in variables:
            checked = True
        elif command.runs("uv", "sync") or command.runs("uv", "export"):
            frozen = command.has("--frozen") or "UV_FROZEN" in variables
            unchecked.append((frozen, Finding(run.line, "the lock is never compared: --locked")))
    for frozen, finding in unchecked:
        if not (frozen and checked):
            yield finding


@rule
def no_dev_for_all_targets(dockerfile: Dockerfile) -> Iterator[Finding]:
    """4. UV_NO_DEV in a file with several targets: it silently defeats a later --group dev."""
    several = len(dockerfile.targets) > 1
    grouped = any(command.has("--group") for _, _, command in _uv_commands(dockerfile))
    for _, instruction in dockerfile.instructions:
        if "UV_NO_DEV" in instruction.variables and (several or grouped):
            yield Finding(instruction.line, "UV_NO_DEV: say UV_NO_DEFAULT_GROUPS")


@rule
def server_not_pid_1(dockerfile: Dockerfile) -> Iterator[Finding]:
    """5. `uv run` or a shell as the container's command: PID 1 passes no signal on, or installs."""
    for _, instruction in dockerfile.instructions:
        if instruction.name in {"CMD", "ENTRYPOINT"}:
            words = instruction.exec_form
            if words is None:
                yield Finding(instruction.line, f"{instruction.name} in shell form")
            elif words and PurePosixPath(words[0]).name in {"uv", "uvx", "sh", "bash", "dash"}:
                yield Finding(instruction.line, f"{instruction.name} runs {words[0]}")


@rule
def floating_uv(dockerfile: Dockerfile) -> Iterator[Finding]:
    """6. A uv of no exact version, in COPY --from too: each release of uv rebuilds everything."""
    for line, image in dockerfile.images:
        name, _, digest = image.partition("@")
        name, _, tag = name.partition(":")
        exact = digest or re.match(r"\d+\.\d+\.\d+(-|$)", tag)
        if re.search(r"(^|/)(astral-sh|astral|astralsh)/uv$", name) and not exact:
            yield Finding(line, f"{image} has no exact version")
    for _, instruction in dockerfile.instructions:
        for command in instruction.commands:
            if "uv" in command.words and "install" in command.words and not command.runs("uv"):
                yield Finding(instruction.line, "an installed uv has no exact version")
        text = instruction.script if instruction.name == "RUN" else instruction.text
        if "astral.sh/uv/install.sh" in text:
            yield Finding(instruction.line, "uv's installer takes the latest version")


@rule
def secret_not_used_or_not_required(dockerfile: Dockerfile) -> Iterator[Finding]:
    """7. A secret that nothing reads, or that may be missing: the failure says something else."""
    for stage, run in dockerfile.instructions:
        secrets = run.mounts_of("secret", "ssh")
        for mount in secrets:
            name = mount.get("id", "default")
            if mount.get("required") != "true":
                yield Finding(run.line, f"secret {name} is not required")
            if not _reads(stage, run, mount):
                yield Finding(run.line, f"nothing reads the secret {name}")
        mounted = {m.get("target", f"/run/secrets/{m.get('id')}") for m in secrets}
        if run.name == "RUN":
            named = set(re.findall(r"/run/secrets/[\w.-]+", run.script))
            for path in named - mounted - _configured([run]):
                yield Finding(run.line, f"{path} is read and not mounted")


@rule
def secret_in_sight_of_a_build(dockerfile: Dockerfile) -> Iterator[Finding]:
    """8. A secret mounted while code is built: a build script of any sdist can take it."""
    for stage, run, command in _uv_commands(dockerfile):
        if run.mounts_of("secret", "ssh"):
            variables = stage.variables(run) | command.variables
            no_build = command.has("--no-build") or "UV_NO_BUILD" in variables
            if _installs(command) and not no_build:
                yield Finding(run.line, "a secret is mounted while uv may build: --no-build")
            if command.runs("uv", "sync") and not (
                command.has("--no-install-project", "--no-install-workspace")
                or "UV_NO_INSTALL_PROJECT" in variables
            ):
                yield Finding(run.line, "a secret is mounted while the project is built")
    for _, run in dockerfile.instructions:
        for command in run.commands:
            if run.mounts_of("secret", "ssh") and _pip_builds(command):
                yield Finding(run.line, "a secret is mounted while pip may build")


@rule
def comment_in_a_command(dockerfile: Dockerfile) -> Iterator[Finding]:
    """9. A comment between a command's lines: in a heredoc it ends the command, unnoticed."""
    for _, instruction in dockerfile.instructions:
        for line in instruction.comments:
            yield Finding(line, "a comment or an empty line inside an instruction")
        for heredoc in instruction.heredocs:
            if re.search(r"\\\n\s*(#|$)", heredoc):
                yield Finding(instruction.line, "a comment inside a continued command")


@rule
def empty_path_element(dockerfile: Dockerfile) -> Iterator[Finding]:
    """10. An empty element in a search path is the current folder: a file there is run."""
    for stage, instruction in dockerfile.instructions:
        defined = {"PATH": "/usr/bin"} | stage.variables(instruction)
        for variables in [instruction.variables, *(c.variables for c in instruction.commands)]:
            for name, value in variables.items():
                if name.endswith("PATH") and "" in _filled(value, defined).split(":"):
                    yield Finding(instruction.line, f"{name} has an empty element: {value}")


@rule
def environment_and_code_in_one_copy(dockerfile: Dockerfile) -> Iterator[Finding]:
    """11. Environment and code in one COPY: a code edit ships the whole environment again."""
    for _, copy, source in _copies_between_stages(dockerfile):
        paths = [PurePosixPath(path) for path in copy.paths[0]]
        for environment in _environments(source):
            if any(path in environment.parents for path in paths):
                yield Finding(copy.line, f"{environment} comes in one COPY with other files")


@rule
def owner_changed_later(dockerfile: Dockerfile) -> Iterator[Finding]:
    """12. chown -R after a COPY: a second copy of every file."""
    for stage, run in dockerfile.instructions:
        filled = any(earlier.name in {"COPY", "ADD"} for earlier in stage.before(run))
        for command in run.commands:
            recursive = any(re.fullmatch(r"-\w*R\w*|--recursive", w) for w in command.words)
            changes = command.words and command.words[0] in {"chown", "chgrp", "chmod"}
            if filled and changes and recursive:
                yield Finding(run.line, f"{command.words[0]} -R after a COPY")


@rule
def user_not_numeric(dockerfile: Dockerfile) -> Iterator[Finding]:
    """13. No user, root, or one with a name: platforms that check the id refuse the image."""
    for stage in dockerfile.stages:
        if stage is dockerfile.final or any(
            i.name in {"CMD", "ENTRYPOINT"} for i in stage.instructions
        ):
            user = stage.last("USER")
            if user is None:
                yield Finding(stage.instructions[0].line, f"{stage.name} runs as root")
            elif not re.fullmatch(r"[1-9]\d*:0", user.text.strip()):
                yield Finding(user.line, f"USER {user.text} is not <number>:0")


@rule
def build_tools_in_the_image(dockerfile: Dockerfile) -> Iterator[Finding]:
    """14. curl, git, a compiler or uv in the final image: weight, and help for an intruder."""
    for instruction in dockerfile.final.history:
        for command in instruction.commands:
            for package in _apt_packages(command):
                if _BUILD_TOOLS.fullmatch(package):
                    yield Finding(instruction.line, f"{package} is in the final image")
            if "uv" in command.words[1:] and "install" in command.words:
                yield Finding(instruction.line, "uv is in the final image")
        if instruction.name in {"COPY", "ADD"}:
            sources, target = instruction.paths
            for path in [*sources, target]:
                if PurePosixPath(path).name in {"uv", "uvx"} or "astral.sh" in path:
                    yield Finding(instruction.line, "uv is in the final image")
    if re.search(r"(^|/)(astral-sh|astral)/uv([:@]|$)", dockerfile.final.lineage[0].image):
        yield Finding(dockerfile.final.instructions[0].line, "uv is in the final image")


@rule
def apt_after_code(dockerfile: Dockerfile) -> Iterator[Finding]:
    """15. System packages after the code: installed again with each edit of it."""
    for stage, run in dockerfile.instructions:
        # What another stage or image made is no code of the folder.
        code = any(
            earlier.name in {"COPY", "ADD"}
            and not earlier.flag("from")
            and not _only_dependency_files(earlier)
            for earlier in stage.before(run)
        )
        if code and any(_apt_packages(command) for command in run.commands):
            yield Finding(run.line, "system packages are installed after a COPY of code")


@rule
def heredoc_that_goes_on(dockerfile: Dockerfile) -> Iterator[Finding]:
    """15. A heredoc without `set -eu`: what fails in its middle is not noticed."""
    for _, run in dockerfile.instructions:
        if run.name == "RUN" and run.text.startswith("<<"):
            first = next((line for line in run.heredocs[0].splitlines() if line.strip()), "")
            other_language = re.match(r"#!(?!.*sh\b)", first)
            if not re.match(r"set -eu", first) and not other_language:
                yield Finding(run.line, "the heredoc does not start with `set -eu`")


@rule
def unknown_uv_variable(dockerfile: Dockerfile) -> Iterator[Finding]:
    """16. A variable that uv does not read, such as UV_VERIFY_HASHES: nothing is verified."""
    for _, instruction in dockerfile.instructions:
        names = [*instruction.variables, *(n for c in instruction.commands for n in c.variables)]
        for name in sorted(set(names)):
            known = name[3:] in _UV_VARIABLES.split() or _INDEX_CREDENTIALS.fullmatch(name)
            if name.startswith("UV_") and not known:
                yield Finding(instruction.line, f"uv does not read {name}")


@rule
def python_in_a_home(dockerfile: Dockerfile) -> Iterator[Finding]:
    """17. A managed Python under a home directory: unreadable for any other user."""
    for stage, run, command in _uv_commands(dockerfile):
        if command.runs("uv", "python", "install"):
            variables = stage.variables(run) | command.variables
            folder = command.value("--install-dir", "-i") or variables.get(
                "UV_PYTHON_INSTALL_DIR", "/root/.local/share/uv/python"
            )
            if re.match(r"/root\b|/home\b|~|\$\{?HOME\b", expand(folder, variables)):
                yield Finding(run.line, f"Python is installed under {folder}")


@rule
def exclude_newer_in_the_environment(dockerfile: Dockerfile) -> Iterator[Finding]:
    """18. UV_EXCLUDE_NEWER in the environment: `--locked` fails, as the lock says otherwise."""
    for _, instruction in dockerfile.instructions:
        if "UV_EXCLUDE_NEWER" in instruction.variables:
            yield Finding(instruction.line, "UV_EXCLUDE_NEWER belongs into pyproject.toml")


@rule
def environment_without_its_python(dockerfile: Dockerfile) -> Iterator[Finding]:
    """19. An environment moved, or without the Python it was made with: it starts nothing."""
    for stage, copy, source in _copies_between_stages(dockerfile):
        sources, target = copy.paths
        for path in (p for p in sources if PurePosixPath(p) in _environments(source)):
            copied = stage.workdir(copy) / target
            if copied != PurePosixPath(path):
                yield Finding(copy.line, f"the environment of {path} lands in {copied}")
            if _image(source) != _image(stage) and not _python_comes_along(source, stage):
                yield Finding(copy.line, f"made with the Python of {_image(source)}")
    made = {path for stage in dockerfile.stages for path in _environments(stage)}
    for _, instruction in dockerfile.instructions:
        for element in instruction.variables.get("PATH", "").split(":"):
            folder = PurePosixPath(element).parent
            if re.fullmatch(r"\.?v?env", folder.name) and made and folder not in made:
                yield Finding(instruction.line, f"no environment is made in {folder}")


@rule
def everything_copied(dockerfile: Dockerfile) -> Iterator[Finding]:
    """20. COPY . .: whatever lies in the folder is in the image, and each edit of it rebuilds."""
    for _, instruction in dockerfile.instructions:
        if instruction.name in {"COPY", "ADD"} and not instruction.flag("from"):
            for path in instruction.paths[0]:
                if path.rstrip("/") in {"", ".", "*", "./*"}:
                    yield Finding(instruction.line, f"{instruction.name} {path}")


def _uv_commands(dockerfile: Dockerfile) -> Iterator[tuple[Stage, Instruction, Command]]:
    """Yield each command that runs uv."""
    for stage, instruction in dockerfile.instructions:
        for command in instruction.commands:
            if command.runs("uv"):
                yield stage, instruction, command


def _installs(command: Command) -> bool:
    """Return whether a command of uv puts packages into an environment."""
    return any(
        command.runs("uv", *words)
        for words in [("sync",), ("pip", "install"), ("pip", "sync"), ("add",), ("run",)]
    )


def _cache_folder(stage: Stage, run: Instruction, command: Command) -> str:
    """Return the folder of uv's cache for a command of a RUN."""
    variables = stage.variables(run) | command.variables
    home = variables.get("HOME", "/root")
    cache = f"{variables.get('XDG_CACHE_HOME', f'{home}/.cache')}/uv"
    folder = command.value("--cache-dir") or variables.get("UV_CACHE_DIR", cache)
    return expand(folder, {"HOME": home} | variables)


def _configured(history: list[Instruction]) -> set[str]:
    """Return the paths of secrets that git is configured to read when it needs to log in."""
    return {
        path
        for instruction in history
        for command in instruction.commands
        if command.runs("git", "config")
        for path in re.findall(r"/run/secrets/[\w.-]+", " ".join(command.words))
    }


def _reads(stage: Stage, run: Instruction, mount: dict[str, str]) -> bool:
    """Return whether a RUN of a stage can read a secret or an agent that is mounted."""
    programs = {command.words[0] for command in run.commands if command.words}
    if mount.get("type") == "ssh":
        return bool(programs & {"git", "ssh", "uv"})
    variable, target = mount.get("env"), mount.get("target", "")
    if variable and re.search(rf"\$\{{?{variable}\b", run.script):
        return True
    if variable and _INDEX_CREDENTIALS.fullmatch(variable):
        return "uv" in programs
    if PurePosixPath(target).name in {".netrc", ".git-credentials"}:
        return bool(programs & {"git", "uv"})
    path = target or f"/run/secrets/{mount.get('id')}"
    if path in _configured(stage.before(run)):
        return bool(programs & {"git", "uv"})
    return bool(not variable and path in run.script)


def _pip_builds(command: Command) -> bool:
    """Return whether a command of pip may run the build of a package."""
    pip = command.words[:1] == ("pip",) or command.words[1:3] == ("-m", "pip")
    return pip and "install" in command.words and not command.has("--only-binary")


def _filled(value: str, variables: dict[str, str]) -> str:
    """Return a value as a shell fills it: a variable that nothing has set is empty."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: variables.get(found[1], ""), value)


def _apt_packages(command: Command) -> Iterable[str]:
    """Return the system packages that a command installs."""
    if command.words[:1] in {("apt-get",), ("apt",)} and "install" in command.words:
        installed = command.words[command.words.index("install") + 1 :]
        return [word for word in installed if not word.startswith("-")]
    return []


def _only_dependency_files(copy: Instruction) -> bool:
    """Return whether a COPY from the context brings nothing that a code edit changes."""
    return not copy.flag("from") and all(
        _DEPENDENCY_FILES.fullmatch(path) for path in copy.paths[0]
    )


def _copies_between_stages(
    dockerfile: Dockerfile,
) -> Iterator[tuple[Stage, Instruction, Stage]]:
    """Yield each COPY from a stage: the stage it stands in, itself, the stage it takes from."""
    for stage, instruction in dockerfile.instructions:
        source = dockerfile.stage(instruction.flag("from")) if instruction.name == "COPY" else None
        if source and instruction.flag("from"):
            yield stage, instruction, source


def _environments(stage: Stage) -> set[PurePosixPath]:
    """Return the paths of the virtual environments that a stage holds."""
    found = set()
    for owner in stage.lineage:
        for instruction in owner.instructions:
            for command in instruction.commands:
                path = _environment(owner, instruction, command)
                if path is not None:
                    found.add(owner.workdir(instruction) / path)
            if instruction.name == "COPY" and re.search(r"v?env/?$", instruction.paths[1]):
                found.add(owner.workdir(instruction) / instruction.paths[1])
    return found


def _environment(stage: Stage, run: Instruction, command: Command) -> str | None:
    """Return the path of the environment that a command makes, perhaps a relative one."""
    variables = stage.variables(run) | command.variables
    if command.runs("uv", "sync"):
        return variables.get("UV_PROJECT_ENVIRONMENT", ".venv")
    arguments = None
    if command.runs("uv", "venv"):
        arguments = command.words[2:]
    elif command.words[1:3] == ("-m", "venv"):
        arguments = command.words[3:]
    if arguments is None:
        return None
    paths = [word for word in arguments if not word.startswith("-") and re.search("/|env", word)]
    return expand(paths[-1], variables) if paths else variables.get("VIRTUAL_ENV", ".venv")


def _image(stage: Stage) -> str:
    """Return the image from elsewhere that a stage stands on."""
    return stage.lineage[0].image


def _python_comes_along(source: Stage, stage: Stage) -> bool:
    """Return whether the managed Python of one stage is copied to the same path in another."""
    folders = {
        source.variables(i).get("UV_PYTHON_INSTALL_DIR") for i in source.history if i.commands
    }
    return any(
        i.name == "COPY" and i.paths[0] == [i.paths[1]] and i.paths[1] in folders
        for i in stage.history
    )
