"""Every public function says what comes back and names every error of ours that it raises itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "physadv"
FILES = sorted(ROOT.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(tree: ast.Module) -> list[Function]:
    """Module functions and methods of public classes whose names do not start with an underscore."""
    bodies = [tree.body] + [n.body for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    return [n for body in bodies for n in body if isinstance(n, Function) and not n.name.startswith("_")]


def raised(function: Function) -> set[str]:
    """Names X of `raise X(...)` written in the function itself, nested functions included."""
    out = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            out.add(node.exc.func.id)
    return {name for name in out if name[0].isupper()}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path}: no module docstring"
    for function in public_functions(tree):
        text = ast.get_docstring(function)
        where = f"{path}:{function.lineno} {function.name}"
        assert text, f"{where}: no docstring"
        assert text.split("\n")[0].rstrip().endswith((".", ":", ";", "?")) or "\n\n" not in text, (
            f"{where}: first line is no sentence"
        )
        for name in raised(function):
            assert name in text, f"{where}: raises {name}, which the docstring does not name"
