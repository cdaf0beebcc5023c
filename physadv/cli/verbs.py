"""A verb of the command line: a function and the settings model that it takes. Flags and help are made from the model.

cyclopts splits the words and lays out the help. pydantic validates every value, wherever it came from.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    UnknownOptionError,
    UnusedCliTokensError,
)
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from physadv.cli.config import read_config
from physadv.cli.help import (
    WORDS,
    PlainHelp,
    explained,
    flag_of,
    grouped,
    is_list,
    is_numbers,
    is_positional,
    key_of,
    metavar,
)
from physadv.cli.terminal import call_fields
from physadv.errors import SettingsError, did_you_mean
from physadv.settings import NO_FLAG, Settings, fault

COMMON = Group("common to all commands", sort_key=1000)
CONFIG = "defaults from a .toml or .yaml file of the same names; flags override them"
HELP = "show this page; --no-NAME turns a switch off that a file has set"
SEE_HELP = "--help shows what is taken"


class Verb:
    """A verb by name: what it runs, and how its words become settings.

    run: takes the settings as its one parameter, whose annotation is the model; its docstring is the help.
    examples: lines to type that work.
    """

    def __init__(self, name: str, run: Callable[[Any], int], examples: Sequence[str] = ()) -> None:
        self.name, self.run, self.examples = name, run, examples
        self.model: type[Settings] = next(h for n, h in typing.get_type_hints(run).items() if n != "return")

    def __call__(self, words: Sequence[str]) -> int:
        """Return the exit code of the verb with these words; `--help` among them prints the help page.

        Raises: SettingsError as `parsed` does, and whatever the verb raises.
        """
        call_fields({key_of(n, i): metavar(n, i) for n, i in self.model.model_fields.items() if is_positional(i)})
        take, values = self._split(words)
        if take is not self._signed:
            take(**values)
            print(self._examples(), end="")
            return 0
        return self.run(self._settings(values))

    def _examples(self) -> str:
        """Return the last lines of the help page. They are not wrapped, so that each can be copied into a terminal."""
        heading = "example:" if len(self.examples) == 1 else "examples:"
        return "\n".join(["", heading, *(f"  {line}" for line in self.examples), ""]) if self.examples else ""

    def parsed(self, words: Sequence[str]) -> Any:
        """Return the settings that the words give, over those of the file that `--config` names.

        Raises: SettingsError for a flag that is not known, a value that cannot be, or a file that cannot be read.
        """
        return self._settings(self._split(words)[1])

    def _split(self, words: Sequence[str]) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Return what cyclopts would call for these words, and by which arguments.

        Raises: SettingsError for words that fit no flag.
        """
        try:
            take, bound, _ = self.app.parse_args(list(words), print_error=False, exit_on_error=False)
        except CycloptsError as error:
            raise self._explained(error, list(words)) from error
        return take, dict(bound.arguments)

    def _explained(self, error: CycloptsError, words: list[str]) -> SettingsError:
        """Return what is wrong with the words of a command line: the flag, what it takes and what came."""
        flags = {flag_of(n, i): (n, i) for n, i in self.model.model_fields.items() if not is_positional(i)}
        if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
            word = error.unused_tokens[0]
            return SettingsError(
                f"got {repr(word) if word else 'an empty word'}, which belongs to no flag", hint=SEE_HELP
            )
        if isinstance(error, UnknownOptionError):
            word = (error.token.keyword or error.token.value).partition("=")[0]
            switches = [f"--no-{flag[2:]}" for flag, (_, info) in flags.items() if info.annotation is bool]
            near = did_you_mean(word, [*flags, "--config", "--help", *switches])
            return SettingsError(f"unknown flag {word}{near or f'; {SEE_HELP}'}")
        token = error.token if isinstance(error, CoercionError) else None
        flag = (token and token.keyword) or getattr(error, "keyword", None) or ""
        if token is not None:
            return _of(flag, expected="no value, or true or false", got=repr(token.value))
        if isinstance(error, MissingArgumentError):
            several = " or more" if flag in flags and is_list(flags[flag][1]) else ""
            value = metavar(*flags[flag]) if flag in flags else "FILE"
            after = words[words.index(flag) + 1 :][:1] if flag in words else []
            dashed = [
                w for w in after if w.startswith("-") and w.partition("=")[0] not in (*flags, "--", "-h", "--help")
            ]
            hint = f"a value that begins with a dash is written {flag}={dashed[0]}" if dashed else None
            return _of(flag, expected=f"{value}{several}", got="none", hint=hint)
        error.verbose = False
        return SettingsError(str(error).removesuffix("."), hint=SEE_HELP)

    def _settings(self, given: dict[str, Any]) -> Settings:
        path = given.pop("config", None)
        from_file = {} if path is None else read_config(Path(path))
        try:
            return self.model.model_validate(self._listed({**from_file, **given}))
        except ValidationError as error:
            fields = {key_of(name, info): (name, info) for name, info in self.model.model_fields.items()}
            missing = [
                fields[str(e["loc"][0])] for e in error.errors() if e["type"] == "missing" and len(e["loc"]) == 1
            ]
            if missing:
                words = " and ".join(_word(name, info) for name, info in missing)
                raise SettingsError(f"expected {words}, got none; {SEE_HELP}") from error
            raise fault(error) from error

    def _listed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return values with a list wherever a field takes one: of one text, or of the numbers between commas."""
        out = dict(values)
        for name, info in self.model.model_fields.items():
            value = out.get(key_of(name, info))
            if value is not None and is_list(info):
                several = list(value) if isinstance(value, (list, tuple)) else [value]
                if is_numbers(info):
                    several = [part for v in several for part in (v.split(",") if isinstance(v, str) else [v])]
                out[key_of(name, info)] = several
        return out

    @cached_property
    def app(self) -> App:
        """Return the cyclopts application that splits this verb's words and prints its help page."""
        about = (inspect.getdoc(self.run) or "").partition("\n\nRaises:")[0]
        app = App(
            name=f"physadv {self.name}",
            usage=" ".join(["usage: physadv", self.name, *self._usage(), "[flags]"]),
            help=about,
            help_flags=("-h", "--help"),
            help_format="plaintext",
            help_formatter=PlainHelp(),
            group_commands=COMMON,
            version_flags=(),
        )
        app["--help"].help = HELP
        app.default(self._signed)
        return app

    @cached_property
    def _signed(self) -> Callable[..., None]:
        """Return a function with the signature that cyclopts reads: a parameter for each field, all of them texts."""

        def take(**_: Any) -> None:
            """Stand for the verb while words are split."""

        parameters = sorted(self._parameters(), key=lambda p: p.kind)
        take.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        take.__doc__ = None
        return take

    def _parameters(self) -> Iterator[inspect.Parameter]:
        fields = {n: info for n, info in self.model.model_fields.items() if NO_FLAG not in info.metadata}
        words = [n for n, info in fields.items() if is_positional(info)]
        for name in words:
            yield _positional(name, fields[name])
        for number, (heading, names) in enumerate(grouped(self.model, [n for n in fields if n not in words]), 1):
            group = Group(heading, sort_key=number)
            for name in names:
                yield _flag(name, fields[name], group, several=not words)
        parameter = Parameter(name="--config", help=CONFIG, metavar="FILE", group=COMMON, allow_repeating=True)
        yield inspect.Parameter(
            "config", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[str | None, parameter], default=None
        )

    def _usage(self) -> Iterator[str]:
        for name, info in self.model.model_fields.items():
            if is_positional(info):
                word = f"{metavar(name, info)}{' ...' if is_list(info) else ''}"
                yield word if info.is_required() else f"[{word}]"


def _positional(name: str, info: FieldInfo) -> inspect.Parameter:
    kind = inspect.Parameter.VAR_POSITIONAL if is_list(info) else inspect.Parameter.POSITIONAL_ONLY
    parameter = Parameter(name=metavar(name, info), help=explained(info), group=Group(WORDS, sort_key=0))
    default = inspect.Parameter.empty if is_list(info) else None
    return inspect.Parameter(key_of(name, info), kind, annotation=Annotated[str | None, parameter], default=default)


def _flag(name: str, info: FieldInfo, group: Group, *, several: bool) -> inspect.Parameter:
    """Return a flag. several: a list takes all words that follow; elsewhere those may stand by themselves."""
    kind: Any = bool if info.annotation is bool else list[str] if is_list(info) else str
    listed = several and is_list(info)
    value = metavar(name, info)
    parameter = Parameter(
        name=flag_of(name, info),
        help=explained(info),
        group=group,
        metavar=f"{value} ..." if listed and "," not in value else value,
        negative=None if kind is bool else (),
        consume_multiple=1 if listed else None,
        # The last one counts, so that a shell's alias can hold a flag that is given again.
        allow_repeating=True,
    )
    annotation = Annotated[kind | None, parameter]
    return inspect.Parameter(
        key_of(name, info), inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=info.default is True or None
    )


def _word(name: str, info: FieldInfo) -> str:
    """Return a field as it is typed: `PATTERN`, or `--out FILE`."""
    value = metavar(name, info)
    return value if is_positional(info) else f"{flag_of(name, info)} {value}"


def _of(flag: str, *, expected: str, got: str, hint: str | None = None) -> SettingsError:
    """Return an error about a flag as it was typed."""
    return SettingsError(field=flag.lstrip("-").replace("-", "_"), expected=expected, got=got, hint=hint)
