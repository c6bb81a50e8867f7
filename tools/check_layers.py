#!/usr/bin/env python3
"""Holds the source to the project's rules of structure: who may import whom, and how large things may be.

    python tools/check_layers.py [FOLDER]

Every import is read, those inside functions too. Prints what breaks a rule and exits with 1; exits with 0 in silence.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ALLOWED = {
    "common": set(),
    "audio": set(),
    "text": set(),
    "nn": set(),
    "features": {"audio"},
    "models": {"nn"},
    "score": {"text"},
    "data": {"audio", "features", "text"},
    "train": {"data", "models", "text"},
    "decode": {"data", "audio", "features", "models", "text"},
}
# Each of these may import everything below it, but never `train`.
ALLOWED["pipeline"] = {"common", "audio", "text", "nn", "features", "models", "score", "data", "decode"}
ALLOWED["serve"] = ALLOWED["pipeline"] | {"pipeline"}

NO_TORCH_AT_IMPORT = {"common", "score", "cli"}
HEAVY = {"torch", "torchaudio", "transformers", "peft", "deepspeed"}
NAMELESS = {"utils", "util", "helpers", "helper", "misc", "common_utils"}
MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 400


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    faults = list(check_tree(root))
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


def check_tree(root: Path) -> Iterator[str]:
    """All faults of the tree at `root`, one line each."""
    for path in sorted((root / "mooer").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        relative = path.relative_to(root)
        yield from check_imports(tree, relative)
        yield from check_names(relative)
    for folder in ("mooer", "bin", "tools", "egs", "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            yield from check_sizes(path.read_text(encoding="utf-8"), path.relative_to(root))


def check_imports(tree: ast.Module, path: Path) -> Iterator[str]:
    """Arrows that the table of layers does not allow, and heavy imports at the top of light packages."""
    package = path.parts[1] if len(path.parts) > 2 else ""
    if package and package != "cli" and package not in ALLOWED:
        yield f"{path}: package {package!r} has no place in the table of layers"
        return
    for node, inside_function in _walk(tree):
        for name in _imported(node):
            target = name.split(".")[1] if name.startswith("mooer.") else ""
            if target and package not in ("cli", "") and target not in ALLOWED[package] | {"common", package}:
                yield f"{path}:{node.lineno}: {package} may not import {name}"
            light = package in NO_TORCH_AT_IMPORT or package == ""
            if light and not inside_function and name.split(".")[0] in HEAVY:
                yield f"{path}:{node.lineno}: {name} must be imported inside the function that needs it"


def check_names(path: Path) -> Iterator[str]:
    """Rooms without a name."""
    for part in (*path.parts[:-1], path.stem):
        if part in NAMELESS:
            yield f"{path}: {part!r} says nothing; name it after what it holds"


def check_sizes(text: str, path: Path) -> Iterator[str]:
    """Functions and modules that are too long."""
    lines = text.count("\n")
    if lines > MAX_MODULE_LINES:
        yield f"{path}: {lines} lines; at most {MAX_MODULE_LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines; at most {MAX_FUNCTION_LINES}"


def _walk(tree: ast.Module) -> Iterator[tuple[ast.AST, bool]]:
    """Every node with whether it is run only when a function is called or a type is checked."""
    pending = [(node, False) for node in tree.body]
    while pending:
        node, deferred = pending.pop()
        yield node, deferred
        type_checking = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        inner = deferred or type_checking or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        pending.extend((child, inner) for child in ast.iter_child_nodes(node))


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return ["mooer.relative-import-not-allowed"]
        if node.module == "mooer":
            return [f"mooer.{alias.name}" for alias in node.names if not alias.name.startswith("__")]
        return [node.module or ""]
    return []


if __name__ == "__main__":
    main()
