"""Each rule for Dockerfiles catches what it is there for, and is silent otherwise."""

import pytest

from helpers.dockerfile_model import parse
from helpers.dockerfile_rules import RULES, findings

# The environment made in place.
IN_PLACE = """\
# check=error=true
FROM ghcr.io/astral-sh/uv:0.13.8 AS uv
FROM python:3.14-slim AS base
ENV PATH=/opt/venv/bin:$PATH \\
    PYTHONUNBUFFERED=1
WORKDIR /app
FROM base AS requirements
ARG BUILD_GROUPS="--group prod"
COPY pyproject.toml uv.lock* ./
RUN --mount=type=bind,from=uv,source=/uv,target=/bin/uv <<EOF
set -eu
uv export --locked --no-cache --output-file /requirements.txt \\
    $BUILD_GROUPS
EOF
FROM base AS dependencies
RUN --mount=type=bind,from=uv,source=/uv,target=/bin/uv \\
    --mount=type=bind,from=requirements,source=/requirements.txt,target=/tmp/requirements.txt \\
    --mount=type=cache,id=uv,target=/root/.cache/uv \\
    uv venv /opt/venv && \\
    uv pip sync --python /opt/venv --require-hashes --link-mode copy /tmp/requirements.txt
FROM dependencies AS app
COPY src src
RUN python -m compileall src
FROM dependencies AS dev
COPY src src
USER 10001:0
CMD ["fastapi", "dev"]
FROM dependencies AS production
COPY --link --from=app /app /app
USER 10001:0
CMD ["uvicorn", "web:app"]
"""

# Through a builder: a Python of uv's, a compiler, private dependencies.
BUILDER = """\
FROM ghcr.io/astral-sh/uv:0.13.8@sha256:abc AS uv
FROM debian:trixie-slim AS base
RUN <<EOF
set -eu
apt-get update
apt-get install --yes --no-install-recommends libpq5 \\
    ca-certificates
rm -rf /var/lib/apt/lists/*
EOF
FROM base AS build
ENV UV_PYTHON_INSTALL_DIR=/opt/python UV_LINK_MODE=copy UV_NO_DEFAULT_GROUPS=1 \\
    UV_PROJECT_ENVIRONMENT=/opt/venv
RUN apt-get update && apt-get install --yes --no-install-recommends git gcc libpq-dev
RUN --mount=type=bind,from=uv,source=/uv,target=/bin/uv uv python install 3.14
WORKDIR /app
RUN --mount=type=bind,from=uv,source=/uv,target=/bin/uv \\
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \\
    --mount=type=bind,source=uv.lock,target=uv.lock \\
    --mount=type=cache,target=/root/.cache/uv \\
    --mount=type=secret,id=git_token,required=true <<EOF
set -eu
GIT_CONFIG_VALUE_0="$(cat /run/secrets/git_token)" uv sync --locked --no-build --no-install-project
EOF
FROM build AS code
COPY src src
FROM base AS production
COPY --link --from=build /opt/python /opt/python
COPY --link --from=build /opt/venv /opt/venv
COPY --link --from=code /app /app
ENV PATH=/opt/venv/bin:$PATH
USER 10001:0
ENTRYPOINT ["python", "-m", "job"]
"""

SECRET = "--mount=type=secret,id=git_token,required=true <<EOF"
READ_SECRET = 'GIT_CONFIG_VALUE_0="$(cat /run/secrets/git_token)" '
CACHE_IN_PLACE = "    --mount=type=cache,id=uv,target=/root/.cache/uv \\\n"
CACHE_BUILDER = "    --mount=type=cache,target=/root/.cache/uv \\\n"
SYNC = "uv sync --locked --no-build --no-install-project"
PYTHON = "COPY --link --from=build /opt/python /opt/python"
ENVIRONMENT = "--from=build /opt/venv /opt/venv"

# The rule that must catch it, the good file, what is replaced there, and by what.
TRAPS = [
    ("cache_mount_elsewhere", IN_PLACE, "target=/root/.cache/uv", "target=/app/.cache/uv"),
    ("cache_mount_elsewhere", BUILDER, "UV_LINK_MODE", "UV_CACHE_DIR=/cache UV_LINK_MODE"),
    ("cache_mount_elsewhere", BUILDER, "uv sync", "XDG_CACHE_HOME=/c uv sync"),
    ("copies_without_a_cache_mount", IN_PLACE, CACHE_IN_PLACE, ""),
    ("copies_without_a_cache_mount", BUILDER, CACHE_BUILDER, ""),
    ("lock_not_checked", IN_PLACE, "--locked", "--frozen"),
    ("lock_not_checked", IN_PLACE, "--locked ", ""),
    ("lock_not_checked", BUILDER, "uv sync --locked", "UV_FROZEN=1 uv sync"),
    ("no_dev_for_all_targets", IN_PLACE, "PYTHONUNBUFFERED=1", "UV_NO_DEV=1"),
    ("server_not_pid_1", IN_PLACE, '["uvicorn", ', '["uv", "run", "uvicorn", '),
    ("server_not_pid_1", IN_PLACE, '["fastapi", "dev"]', "fastapi dev"),
    ("server_not_pid_1", BUILDER, '"python", "-m"', '"/bin/sh", "-c"'),
    ("floating_uv", IN_PLACE, "uv:0.13.8", "uv:latest"),
    ("floating_uv", IN_PLACE, "uv:0.13.8", "uv:0.13"),
    ("floating_uv", IN_PLACE, "type=bind,from=uv", "type=bind,from=ghcr.io/astral-sh/uv"),
    ("floating_uv", IN_PLACE, "RUN python", "COPY --from=astral/uv /x /x\nRUN python"),
    ("floating_uv", BUILDER, "WORKDIR", "RUN pip install uv\nWORKDIR"),
    ("floating_uv", BUILDER, "WORKDIR", "ADD https://astral.sh/uv/install.sh /\nWORKDIR"),
    ("secret_not_used_or_not_required", BUILDER, ",required=true", ""),
    ("secret_not_used_or_not_required", BUILDER, READ_SECRET, ""),
    ("secret_not_used_or_not_required", BUILDER, SECRET, "<<EOF"),
    ("secret_not_used_or_not_required", BUILDER, SECRET, "--mount=type=ssh <<EOF"),
    (
        "secret_not_used_or_not_required",
        IN_PLACE,
        "RUN python",
        "RUN --mount=type=ssh,required=true python",
    ),
    ("secret_in_sight_of_a_build", BUILDER, "--no-build ", ""),
    ("secret_in_sight_of_a_build", BUILDER, " --no-install-project", ""),
    ("secret_in_sight_of_a_build", BUILDER, SYNC, f"{SYNC}\npip install billing"),
    ("comment_in_a_command", BUILDER, "libpq5 \\\n", "libpq5 \\\n# for TLS\n"),
    ("comment_in_a_command", IN_PLACE, "/opt/venv && \\\n", "/opt/venv && \\\n# sync\n"),
    ("empty_path_element", IN_PLACE, "/opt/venv/bin:$PATH", "/opt/venv/bin::$PATH"),
    ("empty_path_element", IN_PLACE, "PYTHONUNBUFFERED=1", "PYTHONPATH=/app:$PYTHONPATH"),
    ("empty_path_element", IN_PLACE, "RUN python", "RUN PATH=$PATH: python"),
    ("environment_and_code_in_one_copy", BUILDER, ENVIRONMENT, "--from=build /opt /opt"),
    ("owner_changed_later", IN_PLACE, "RUN python", "RUN chown -R 10001 /app && python"),
    ("owner_changed_later", IN_PLACE, "RUN python", "RUN chmod --recursive a+rX . && python"),
    ("user_not_numeric", IN_PLACE, "USER 10001:0", "USER app"),
    ("user_not_numeric", IN_PLACE, "USER 10001:0", "USER 0:0"),
    ("user_not_numeric", IN_PLACE, "USER 10001:0", "USER 10001"),
    ("user_not_numeric", BUILDER, "USER 10001:0\n", ""),
    ("build_tools_in_the_image", BUILDER, "libpq5", "curl"),
    ("build_tools_in_the_image", BUILDER, "libpq5", "libpq-dev=17.*"),
    (
        "build_tools_in_the_image",
        BUILDER,
        f"FROM base AS production\n{PYTHON}\nCOPY --link {ENVIRONMENT}",
        "FROM build AS production",
    ),
    ("build_tools_in_the_image", IN_PLACE, "--from=app /app /app", "--from=uv /uv /uvx /bin/"),
    ("apt_after_code", IN_PLACE, "RUN python", "RUN apt-get install --yes libpq5 && python"),
    ("heredoc_that_goes_on", IN_PLACE, "set -eu\n", ""),
    ("heredoc_that_goes_on", IN_PLACE, "set -eu\n", "#!/bin/bash\n"),
    ("unknown_uv_variable", BUILDER, "UV_LINK_MODE", "UV_VERIFY_HASHES=1 UV_LINK_MODE"),
    ("unknown_uv_variable", IN_PLACE, "uv pip sync", "UV_NO_CACHES=1 uv pip sync"),
    ("unknown_uv_variable", IN_PLACE, "WORKDIR", "ARG UV_VERIFY_HASHES=1\nWORKDIR"),
    ("python_in_a_home", BUILDER, "UV_PYTHON_INSTALL_DIR=/opt/python", "UV_OFFLINE=1"),
    ("python_in_a_home", BUILDER, "python install", "python install --install-dir ~/python"),
    (
        "exclude_newer_in_the_environment",
        BUILDER,
        "UV_LINK_MODE",
        "UV_EXCLUDE_NEWER=2026-11-01 UV_LINK_MODE",
    ),
    ("environment_without_its_python", BUILDER, ENVIRONMENT, "--from=build /opt/venv /venv"),
    (
        "environment_without_its_python",
        BUILDER,
        f"FROM base AS production\n{PYTHON}",
        "FROM python:3.14-slim AS production",
    ),
    ("environment_without_its_python", IN_PLACE, "PATH=/opt/venv", "PATH=/app/.venv"),
    ("everything_copied", IN_PLACE, "COPY src src", "COPY . ."),
    ("everything_copied", IN_PLACE, "COPY src src", 'COPY ["./", "/app/"]'),
]


@pytest.mark.parametrize("good", [IN_PLACE, BUILDER], ids=["in place", "builder"])
def test_good_dockerfile(good: str) -> None:
    assert findings(parse(good)) == []


def test_index_credentials_reach_uv_by_their_names() -> None:
    secret = "--mount=type=secret,id=user,env=UV_INDEX_ACME_USERNAME,required=true <<EOF"
    index = BUILDER.replace(SECRET, secret).replace(READ_SECRET, "")
    assert findings(parse(index)) == []


HELPER = "RUN git config --system credential.helper '!cat /run/secrets/git_token'\n"


def test_git_reads_a_secret_by_a_credential_helper() -> None:
    helper = BUILDER.replace(READ_SECRET, "").replace("WORKDIR", f"{HELPER}WORKDIR")
    assert findings(parse(helper)) == []


def test_a_credential_helper_without_git_reads_no_secret() -> None:
    idle = BUILDER.replace(f"{READ_SECRET}{SYNC}", "echo").replace("WORKDIR", f"{HELPER}WORKDIR")
    assert any("nothing reads the secret git_token" in line for line in findings(parse(idle)))


@pytest.mark.parametrize(("name", "good", "old", "new"), TRAPS)
def test_trap_is_found(name: str, good: str, old: str, new: str) -> None:
    """No other rule speaks up, so that a finding says what is wrong."""
    assert old in good
    found = findings(parse(good.replace(old, new)))
    assert {finding.rpartition(" (")[2] for finding in found} == {f"{name})"}, found


def test_each_rule_is_tested() -> None:
    assert {name for name, *_ in TRAPS} == {rule.__name__ for rule in RULES}
