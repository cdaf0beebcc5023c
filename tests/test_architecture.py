"""The plan of packages, enforced: which may import which, where each third party is used, and what stays readable."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "physadv"
# A package imports only from packages of lower rank, or from itself.
RANKS = {
    "version": 0, "errors": 0, "types": 0, "files": 0,
    "colour_profiles": 0.3, "decoding": 0.6,
    "plugins": 1, "boxes": 1, "address": 1, "slot": 1, "arrays": 1, "outputs": 1, "marks": 1, "table": 1, "html_page": 1.5,
    "settings": 2, "recording": 2, "provenance": 2, "patch": 2, "dataset": 2, "controls": 3, "lineage": 3,
    "camera": 3,
    "capture": 4, "detect": 4, "simulate": 4,
    "defend": 5, "fabricate": 5,
    "explain": 5.5,
    "live": 6, "evaluate": 6,
    "attack": 6.5, "tune": 6.5, "trial": 6.5, "tour": 6.5,
    "web": 7,
    "scale": 7,
    "cli": 8, "__init__": 9, "__main__": 9,
}  # fmt: skip
NEVER = {(package, "attack") for package in ("capture", "defend", "explain", "live", "evaluate", "tune")} | {
    ("attack", "tune")
}
ONLY_IN = {
    "ultralytics": {"detect/yolo.py", "detect/download.py", "tune"},
    "openvino": {"detect/openvino.py"},
    "onnxruntime": {"detect/onnx.py"},
    "kornia": {"simulate", "camera/difference.py"},
    "fastapi": {"web"},
    "uvicorn": {"web"},
    "av": {"capture/stream.py", "capture/video_file.py", "capture/film.py", "live/recorder.py"},
    "fpdf": {"fabricate"},
    "faster_coco_eval": {"evaluate"},
    "matplotlib": {"tune/plots.py"},
    "rich": {"cli"},
    "torchvision": {"detect"},
    "ray": {"scale/ray_cluster.py"},
    "optuna": {"scale/sweep.py", "scale/trial.py"},
}
FILES = sorted(ROOT.rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            if node.module == "physadv":
                yield from ((f"physadv.{alias.name}", node.lineno) for alias in node.names)
            elif node.module:
                yield node.module, node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_package_imports_only_from_lower_ranks(path: Path) -> None:
    here = package_of(path)
    for module, line in imports(path):
        if not module.startswith("physadv."):
            continue
        there = module.split(".")[1]
        if there == here:
            continue
        assert there in RANKS, f"{path}:{line}: {there} has no rank; give it one in RANKS"
        assert RANKS[there] < RANKS[here], f"{path}:{line}: {here} may not import {module}"
        assert (here, there) not in NEVER, f"{path}:{line}: {here} must never import {there}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_third_party_is_used_in_one_package(path: Path) -> None:
    here = str(path.relative_to(ROOT))
    for module, line in imports(path):
        places = ONLY_IN.get(module.split(".")[0])
        if places is not None:
            assert any(here == r or here.startswith(f"{r}/") for r in places), f"{path}:{line}: {module} in {here}"


LARGEST_CLASS = 250


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def own_imports(path: Path, modules: set[str]) -> set[str]:
    """Modules of the package that a file imports anywhere: at its top, in functions, for type checking."""
    out = set()
    for node in ast.walk(parsed(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` is an import of the module.
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in inside]
        out |= modules.intersection(names)
    return out - {module_of(path)}


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {module_of(path) for path in FILES}
    graph = {module_of(path): own_imports(path, modules) for path in FILES}
    done: set[str] = set()

    def follow(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in sorted(graph[module]):
                follow(other, (*way, module))
            done.add(module)

    for module in sorted(graph):
        follow(module, ())


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    """Classes at the top of each file."""
    for path in FILES:
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef):
                yield path, node


def test_no_class_name_stands_for_two_things() -> None:
    places: dict[str, list[str]] = {}
    for path, node in classes():
        places.setdefault(node.name, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice


def test_no_class_is_too_long_to_read() -> None:
    long = {n.name: n.end_lineno - n.lineno + 1 for _, n in classes() if n.end_lineno is not None}
    assert not {name: lines for name, lines in long.items() if lines > LARGEST_CLASS}


def test_calib_is_never_imported() -> None:
    for path in FILES:
        assert not any(module.split(".")[0] == "calib" for module, _ in imports(path)), path


def texts(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_command_line_speaks_of_flags(path: Path) -> None:
    if package_of(path) in ("cli", "__main__"):
        return
    for text, line in texts(path):
        # What is passed to git begins so, too.
        if not re.match(r"--[a-z]", text) or package_of(path) == "provenance":
            continue
        pytest.fail(f"{path}:{line}: {text[:40]!r}: name the field (see errors), the command line makes a flag of it")


# Private words that the field's own have replaced.
RETIRED = re.compile(
    r"(?<![\w-])(light in|the house|errands?|tape|wardrobe|crew|posed|descent|dresser|checkup|told|whom|by lot"
    r"|do nothing)(?![\w-])",
    re.IGNORECASE,
)
READ = [p for ending in ("py", "js", "html", "css", "md") for p in sorted(ROOT.rglob(f"*.{ending}"))]


def test_words_that_were_given_up_stay_so() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{number}": line.strip()
        for path in READ
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        # In a name of Python's style the words stand between underscores.
        if RETIRED.search(re.sub(r"(?<=[a-z])_(?=[a-z])", " ", line))
    }
    assert not found
