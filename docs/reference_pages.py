"""Write the reference pages of the documentation from the code: settings, recipes, HTTP API, artifacts, steps.

The site's configuration (docs/conf.py) calls `write` before each build. What pydantic models and the OpenAPI document
do not say, a field's or an artifact's meaning, is the comment above or behind it in the source.

Writes  docs/reference/{settings,recipes,http-api,artifacts,steps}.md, which git ignores
Run     make docs
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic_settings import BaseSettings

from data_exchange_center import artifacts, plugins
from data_exchange_center.recipes import KINDS
from data_exchange_center.settings import ExtensionSettings, Settings
from extras.trials.store import TrialStore
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from online.web.openapi import description
from online.web.parts import Parts

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / "docs" / "reference"
PACKAGES: Final = (
    "offline",
    "extras",
    "past_one_machine",
    "stack",
)  # that may have settings of their own
STEPS: Final = ("offline", "offline_to_online", "online", "extras")
# A schema's keyword -> how a limit is written
LIMITS: Final = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
}


def write(folder: Path = FOLDER) -> None:
    """Write all pages. A page that is the same stays untouched, so that a second build has nothing to do."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "settings": settings_page,
        "recipes": recipes_page,
        "http-api": http_api_page,
        "artifacts": artifacts_page,
        "steps": steps_page,
    }
    for name, page in pages.items():
        path, text = folder / f"{name}.md", f"{page().rstrip()}\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


# --- settings and recipes ---------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def settings_page() -> str:
    parts = [
        "# Settings",
        "Every setting is an environment variable. `RECSYS_EXCHANGE_DIR` and other paths are absolute. "
        "[The settings that people change most](../../data_exchange_center/README.md#settings).",
    ]
    kinds: list[type[BaseSettings]] = [Settings, *extension_settings()]
    for kind in kinds:
        parts += _settings_of(kind, str(kind.model_config["env_prefix"]))
    return "\n\n".join(parts)


def extension_settings() -> list[type[ExtensionSettings]]:
    """Settings classes of packages and steps, by name of their variables."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "(ExtensionSettings" in path.read_text(encoding="utf-8"):
                importlib.import_module(
                    ".".join(path.relative_to(ROOT).with_suffix("").parts)
                )
    return sorted(
        ExtensionSettings.__subclasses__(),
        key=lambda kind: str(kind.model_config["env_prefix"]),
    )


def _settings_of(kind: type[BaseModel], prefix: str) -> Iterator[str]:
    """A heading, the docstring and a table for a model, then the same for the models in its fields."""
    nested = {
        name: _model_of(field.annotation) for name, field in kind.model_fields.items()
    }
    own = [name for name, model in nested.items() if model is None]
    yield f"## {kind.__name__}"
    yield inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]
    if own:
        yield table(
            ("variable", "type", "default", "meaning"), list(_fields(kind, own, prefix))
        )
    for name, model in nested.items():
        if model is not None:
            yield from _settings_of(model, f"{prefix}{name.upper()}__")


def _model_of(annotation: object) -> type[BaseModel] | None:
    found = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if found else None  # type: ignore[return-value]


def _fields(
    kind: type[BaseModel], names: Sequence[str], prefix: str = ""
) -> Iterator[Sequence[str]]:
    """Variable or field, type, default and meaning of each."""
    properties = kind.model_json_schema(by_alias=False)["properties"]
    said: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if issubclass(each, BaseModel) and each not in (
            BaseModel,
            BaseSettings,
            ExtensionSettings,
        ):
            said |= comments(inspect.getsource(each))
    for name in names:
        alias = kind.model_fields[name].validation_alias
        variable = (str(alias) if alias else prefix + name).upper() if prefix else name
        default = kind.model_fields[name].get_default(
            call_default_factory=True, validated_data={}
        )
        required = kind.model_fields[name].is_required()
        meaning = kind.model_fields[name].description or said.get(name, "")
        yield (
            f"`{variable}`",
            _type(properties[name]),
            "required" if required else _default(default),
            _cell(meaning),
        )


def _default(value: object) -> str:
    if isinstance(value, Path) and value.is_relative_to(ROOT):
        return f"`{value.relative_to(ROOT)}` of the checkout"
    if isinstance(value, BaseModel):
        return f"`{type(value).__name__}`"
    if isinstance(value, tuple) and any(isinstance(each, BaseModel) for each in value):
        return ", ".join(f"`{type(each).__name__}`" for each in value)
    return (
        ""
        if value in (None, "", ())
        else f"`{str(value).lower() if isinstance(value, bool) else value}`"
    )


def recipes_page() -> str:
    parts = [
        "# Recipes",
        "A recipe is a list of channels, a ranker, and how the channels' lists are fused: "
        "[how to use and write one](../../data_exchange_center/README.md#recipes). These are the kinds that are "
        "installed, and their settings with the values of the class.",
    ]
    others = plugins.find(plugins.MODELS)
    models: dict[str, type[BaseModel]] = {
        **{kind: point.load() for kind, point in others.items()},
        **KINDS,
    }
    for kind, model in sorted(models.items()):
        rows = _fields(model, list(model.model_fields))
        head = ("field", "type", "default", "meaning")
        parts += [
            f"## {kind}",
            inspect.cleandoc(model.__doc__ or "").split("\n\n")[0],
            table(head, rows),
        ]
    return "\n\n".join(parts)


# --- HTTP API ---------------------------------------------------------------------------------------------------------


def openapi() -> dict[str, Any]:
    """The OpenAPI document of a server with all extensions; no service is needed."""
    # of the defaults, whatever the environment says
    settings = Settings.model_construct()
    cold = settings.server.model_copy(update={"warm_up_s": 0})
    settings = settings.model_copy(update={"server": cold})
    recommender = Recommender.from_settings(settings)
    try:
        # a given store is not read when the server starts
        stores = {"trials": TrialStore(settings.redis)}
        parts: Parts = create_app(recommender, settings, stores=stores).extensions[
            "recsys"
        ]
        return description(
            parts.request_model, recommender.answer_model, parts.paths, parts.models
        )
    finally:
        recommender.close()


def http_api_page() -> str:
    document = openapi()
    parts = [
        "# HTTP API",
        "A running server describes itself: `/docs` is a page, `/openapi.json` the OpenAPI 3.1 document that this page "
        "is made of. [What the fields of a request do](../../online/README.md#one-request-step-by-step).",
    ]
    for path, methods in sorted(
        document["paths"].items(), key=lambda path: path[0] != "/ml/rec"
    ):  # that one first
        for method, operation in methods.items():
            if isinstance(operation, dict):
                parts += _operation(f"{method.upper()} {path}", operation)
    parts.append("## Models")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts += _schema(name, schema)
    return "\n\n".join(parts)


def _operation(title: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {title}"
    yield f"{operation['summary']}. {operation.get('description', '')}".strip()
    if parameters := operation.get("parameters"):
        rows = [
            (
                f"`{each['name']}`",
                each["in"],
                _type(each.get("schema", {})),
                _cell(each.get("description", "")),
            )
            for each in parameters
        ]
        yield table(("parameter", "in", "type", "meaning"), rows)
    if body := operation.get("requestBody"):
        yield f"Body: {_content(body['content'])}."
    answers = operation["responses"].items()
    yield table(
        ("status", "content", "meaning"),
        [
            (
                f"`{status}`",
                _content(said.get("content", {})),
                _cell(said["description"]),
            )
            for status, said in answers
        ],
    )


def _content(content: Mapping[str, Any]) -> str:
    return ", ".join(
        _type(media["schema"]) if "schema" in media else f"`{name}`"
        for name, media in content.items()
    )


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}"
    yield schema.get("description", "").split("\n\n")[0]
    if properties := schema.get("properties"):
        needed = schema.get("required", ())
        yield table(
            ("field", "type", "required", "meaning"),
            [
                (
                    f"`{field}`",
                    _type(each),
                    "yes" if field in needed else "",
                    _cell(each.get("description", "")),
                )
                for field, each in properties.items()
            ],
        )


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words; a model becomes a link to its section on the page of the API."""
    if reference := schema.get("$ref"):
        name = str(reference).rpartition("/")[2]
        return (
            f"[{name}](#{name.lower()})" if "/components/" in reference else f"`{name}`"
        )
    if options := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(dict.fromkeys(map(_type, options)))
    if values := schema.get("enum"):
        return ", ".join(f"`{value}`" for value in values)
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    limits = [
        shown.format(schema[key]) for key, shown in LIMITS.items() if key in schema
    ]
    return ", ".join([{"null": "none"}.get(kind, kind), *limits])


# --- artifacts and steps ----------------------------------------------------------------------------------------------


def artifacts_page() -> str:
    said = comments(inspect.getsource(artifacts))
    parts = [
        "# Artifacts",
        "Files that steps exchange, below `RECSYS_EXCHANGE_DIR` (`data_exchange_center/` of the checkout), in the "
        "order in which they are made. Parquet files have the columns that are named here; *others* are columns that "
        "depend on the data set or the recipe.",
    ]
    named = [
        (name, each)
        for name, each in vars(artifacts).items()
        if isinstance(each, artifacts.Artifact)
    ]
    for step in dict.fromkeys(each.made_by for _, each in named):
        rows = [
            (f"`{each.path}`", f"`{name}`", _columns(each), _cell(said.get(name, "")))
            for name, each in named
            if each.made_by == step
        ]
        parts += [
            f"## {step}",
            table(("file", "name in `artifacts`", "columns", "contents"), rows),
        ]
    return "\n\n".join(parts)


def _columns(artifact: artifacts.Artifact) -> str:
    if not isinstance(artifact, artifacts.Table):
        return "JSON" if isinstance(artifact, artifacts.Document) else "binary"
    columns = ", ".join(f"`{name}` {kind}" for name, kind in artifact.columns.items())
    return columns + (", others" if artifact.open_ended else "")


def steps_page() -> str:
    parts = [
        "# Steps",
        "Numbered scripts, in the order in which `make demo` runs them. Each is run from its own folder, or all by "
        "`make offline`, `make sync` and `make serve`.",
    ]
    for package in STEPS:
        for path in sorted((ROOT / package).rglob("s[0-9]_*.py"), key=_order):
            name = path.relative_to(ROOT)
            about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            first, _, rest = about.partition("\n\n")
            parts += [
                f"## {name}",
                first,
                f"```text\n{rest}\n```",
                f"[Source](../../{name})",
            ]
    return "\n\n".join(parts)


def _order(path: Path) -> tuple[int, str]:
    """By stage, then by number."""
    stages = ("preprocess", "recall", "rank", "release", "main")
    return (
        stages.index(path.parent.name) if path.parent.name in stages else len(stages),
        path.name,
    )


# --- comments of the source -------------------------------------------------------------------------------------------


def comments(source: str) -> dict[str, str]:
    """Comment of each assigned name, at the top or in a class: the lines right above, or behind it on its line."""
    source = textwrap.dedent(source)
    # line -> comment, whether it is alone there
    found: dict[int, tuple[str, bool]] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(
            ("# ---", "# fmt", "# type", "# noqa")
        ):
            found[token.start[0]] = (
                token.string.lstrip("# "),
                not token.line[: token.start[1]].strip(),
            )
    named: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(node, ast.stmt):
                lines = [
                    *_above(found, node.lineno),
                    found.get(node.lineno, ("", True)),
                ]
                text = " ".join(words for words, alone in lines if words)
                if text:
                    named.setdefault(target.id, text)
    return named


def _above(
    found: Mapping[int, tuple[str, bool]], line: int
) -> Iterable[tuple[str, bool]]:
    first = line
    while found.get(first - 1, ("", False))[1]:
        first -= 1
    return [found[each] for each in range(first, line)]


def _cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
