"""What a Dockerfile says: its stages, their instructions, and the commands in these.

BuildKit's own parser reads it, in the package `dockerfile`.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

import dockerfile

_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(\S.*)")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}]*))?\})")
# Words that stand before a command and are none.
_SHELL_WORDS = {"!", "{", "}", "do", "done", "else", "exec", "fi", "if", "then", "time", "while"}


@dataclass(frozen=True)
class Command:
    """One command of a shell script: the variables set for it alone, and its words."""

    variables: dict[str, str]
    words: tuple[str, ...]

    def runs(self, *words: str) -> bool:
        """Return whether the command starts with these words, a path before the first aside."""
        return (
            bool(self.words)
            and (
                PurePosixPath(self.words[0]).name,
                *self.words[1 : len(words)],
            )
            == words
        )

    def has(self, *options: str) -> bool:
        """Return whether one of the options is given, with or without a value."""
        return any(word == o or word.startswith(f"{o}=") for o in options for word in self.words)

    def value(self, *options: str) -> str | None:
        """Return the value of one of the options, after a space or an equals sign."""
        for word, following in zip(self.words, (*self.words[1:], ""), strict=True):
            name, equals, value = word.partition("=")
            if name in options:
                return value if equals else following
        return None


@dataclass(frozen=True)
class Instruction:
    """One instruction. `text` is what follows its flags, continued lines joined.

    `words` are its arguments as BuildKit splits them, those of a JSON array unquoted.
    """

    line: int
    name: str
    flags: tuple[tuple[str, str], ...]
    text: str
    words: tuple[str, ...]
    is_json: bool
    heredocs: tuple[str, ...]
    # Lines of comments, and empty ones, between the lines of the instruction.
    comments: tuple[int, ...]

    def flag(self, name: str) -> str:
        """Return a flag's value, empty where it is not given."""
        return dict(self.flags).get(name, "")

    @property
    def exec_form(self) -> list[str] | None:
        """The words of an instruction that is written as a JSON array."""
        return list(self.words) if self.is_json else None

    @property
    def paths(self) -> tuple[list[str], str]:
        """The sources and the destination of a COPY or an ADD."""
        return list(self.words[:-1]), self.words[-1]

    @cached_property
    def mounts(self) -> list[dict[str, str]]:
        """The mounts of a RUN. An option without a value is "true"."""
        return [
            {k: v if equals else "true" for k, equals, v in pairs}
            for name, value in self.flags
            if name == "mount"
            for pairs in [[option.partition("=") for option in value.split(",")]]
        ]

    def mounts_of(self, *kinds: str) -> list[dict[str, str]]:
        """Return the mounts of some types."""
        return [mount for mount in self.mounts if mount.get("type", "bind") in kinds]

    @cached_property
    def script(self) -> str:
        """What a RUN gives to the shell."""
        return "\n".join([_HEREDOC.sub("", self.text), *self.heredocs])

    @cached_property
    def commands(self) -> list[Command]:
        """The commands of a RUN."""
        return list(_commands(self.script)) if self.name == "RUN" else []

    @cached_property
    def variables(self) -> dict[str, str]:
        """The variables that an ENV sets or that an ARG declares."""
        if self.name not in {"ENV", "ARG"}:
            return {}
        words = shlex.split(self.text)
        if self.name == "ENV" and "=" not in words[0]:
            return {words[0]: " ".join(words[1:])}
        return {name: value for name, _, value in (word.partition("=") for word in words)}


@dataclass(frozen=True)
class Stage:
    """A stage. `image` is what it stands on; `parent` is that, where it is another stage."""

    name: str
    image: str
    parent: "Stage | None"
    instructions: list[Instruction] = field(default_factory=list)

    @property
    def lineage(self) -> "list[Stage]":
        """The stages that this one stands on, and itself, the first one first."""
        return [*(self.parent.lineage if self.parent else []), self]

    @property
    def history(self) -> list[Instruction]:
        """The instructions that make this stage, those of its lineage included."""
        return [instruction for stage in self.lineage for instruction in stage.instructions]

    def last(self, *names: str) -> Instruction | None:
        """Return the instruction of one of these names that is in force at the end."""
        return next((i for i in reversed(self.history) if i.name in names), None)

    def before(self, instruction: Instruction) -> list[Instruction]:
        """Return the part of the history that comes before one of its instructions."""
        return self.history[: self.history.index(instruction)]

    def variables(self, instruction: Instruction) -> dict[str, str]:
        """Return the variables that an instruction of this stage runs with."""
        found: dict[str, str] = {}
        for earlier in self.before(instruction):
            found |= {k: expand(v, found) for k, v in earlier.variables.items()}
        return found

    def workdir(self, instruction: Instruction) -> PurePosixPath:
        """Return the folder that an instruction of this stage runs in."""
        folder = PurePosixPath("/")
        for earlier in self.before(instruction):
            if earlier.name == "WORKDIR":
                folder /= expand(earlier.text, self.variables(earlier))
        return folder


@dataclass(frozen=True)
class Dockerfile:
    """A parsed Dockerfile. `directives` are those of its head, such as `check`."""

    directives: Mapping[str, str]
    stages: list[Stage]

    @property
    def instructions(self) -> Iterator[tuple[Stage, Instruction]]:
        """Each instruction with the stage that it stands in."""
        return ((stage, i) for stage in self.stages for i in stage.instructions)

    def stage(self, name: str) -> Stage | None:
        """Return the stage of a name or a number."""
        if name.isdigit() and int(name) < len(self.stages):
            return self.stages[int(name)]
        return next((stage for stage in self.stages if stage.name == name.lower()), None)

    @property
    def final(self) -> Stage:
        """The stage that is built where none is asked for."""
        return self.stages[-1]

    @property
    def targets(self) -> list[Stage]:
        """The stages that no other one needs: what there is to ask for."""
        needed = {stage.parent.name for stage in self.stages if stage.parent}
        needed |= {mount.get("from", "") for _, i in self.instructions for mount in i.mounts}
        needed |= {i.flag("from") for _, i in self.instructions}
        return [stage for stage in self.stages if stage.name not in needed]

    @property
    def images(self) -> Iterator[tuple[int, str]]:
        """Each image from elsewhere, with the line that names it."""
        for stage in self.stages:
            for i in stage.instructions:
                for name in [i.flag("from"), *(mount.get("from", "") for mount in i.mounts)]:
                    if name and not self.stage(name):
                        yield i.line, name
                if i.name == "FROM" and not stage.parent and stage.image != "scratch":
                    yield i.line, stage.image


def parse(text: str) -> Dockerfile:
    """Return the structure of a Dockerfile.

    Raises ValueError where BuildKit cannot read it, or where its first stage is missing.
    """
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction in _instructions(text):
        if instruction.name == "FROM":
            image, *alias = instruction.text.split()
            image = expand(image, arguments)
            parent = next((stage for stage in stages if stage.name == image.lower()), None)
            name = alias[1].lower() if alias else str(len(stages))
            stages.append(Stage(name, image, parent))
        if stages:
            stages[-1].instructions.append(instruction)
        elif instruction.name == "ARG":
            arguments |= instruction.variables
        else:
            raise ValueError(f"line {instruction.line}: {instruction.name} before the first FROM")
    if not stages:
        raise ValueError("no stage")
    return Dockerfile(_directives(text), stages)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Return a text with its variables filled in, those left as they are that are not known."""
    return _VARIABLE.sub(
        lambda found: variables.get(found[1] or found[2], found[3] or "") or found[0], text
    )


def _directives(text: str) -> dict[str, str]:
    """Return the parser directives, which only the first lines of a file can hold."""
    found = {}
    for line in text.splitlines():
        directive = _DIRECTIVE.fullmatch(line)
        if not directive:
            break
        found[directive[1].lower()] = directive[2].strip()
    return found


def _instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions of a Dockerfile."""
    lines = text.splitlines()
    for command in dockerfile.parse_string(text):
        _, _, rest = command.original.partition("\n")[0].partition(" ")
        for flag in command.flags:
            rest = rest.lstrip().removeprefix(flag)
        names = (flag.removeprefix("--").partition("=") for flag in command.flags)
        heredocs = tuple(heredoc.content for heredoc in command.heredocs)
        # A line for each delimiter at the end.
        end = command.end_line - sum(len(text.splitlines()) + 1 for text in heredocs)
        yield Instruction(
            line=command.start_line,
            name=command.cmd.upper(),
            flags=tuple((name, value or "true") for name, _, value in names),
            text=rest.strip(),
            words=command.value,
            is_json=command.json,
            heredocs=heredocs,
            comments=tuple(
                number
                for number in range(command.start_line + 1, end + 1)
                if not lines[number - 1].strip() or lines[number - 1].lstrip().startswith("#")
            ),
        )


def _commands(script: str) -> Iterator[Command]:
    """Yield the commands of a shell script."""
    script = re.sub(r"^\s*#.*$", "", script.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(script, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("();|&\n"):
            if words:
                yield _command(words)
            words = []
        elif words or word not in _SHELL_WORDS:
            words.append(word)


def _command(words: list[str]) -> Command:
    """Return a command, the variables before it told from its words."""
    if words[0] in {"env", "export"}:
        words = words[1:]
    count = 0
    while count < len(words) and re.match(r"\w+=", words[count]):
        count += 1
    assignments = (word.partition("=") for word in words[:count])
    return Command({name: value for name, _, value in assignments}, tuple(words[count:]))
