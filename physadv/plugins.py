"""Code of others that plugs in: found by `module:name`, or by the name under which an installed package declares it.

Nothing is imported before it is named. docs/plugins.md says what a detector, a defence and a source have to offer.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physadv.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

DETECTORS, DEFENCES, SOURCES = "physadv.detectors", "physadv.defences", "physadv.sources"
REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
# Characters of a foreign error that are shown.
LONGEST = 200


def is_reference(text: str) -> bool:
    """Return whether a text names code as `module:name`."""
    return REFERENCE.fullmatch(text) is not None


def declared(group: str) -> list[str]:
    """Return the names that installed packages declare in a group of entry points; nothing is imported."""
    return list(dict.fromkeys(entry.name for entry in _entries(group)))


def reference_of(group: str, name: str, *, field: str) -> str | None:
    """Return the `module:name` that installed packages declare by a name in a group; None if none does.

    Raises: PluginError if two packages declare different ones.
    """
    values = list(dict.fromkeys(entry.value for entry in _entries(group) if entry.name == name))
    if len(values) > 1:
        raise PluginError(
            f"several installed packages declare {name}: {', '.join(values)}",
            field=field,
            hint="uninstall all but one of them",
        )
    return values[0] if values else None


def _entries(group: str) -> Iterable[EntryPoint]:
    # Here, since it takes as long to load as the rest of a fast command.
    from importlib.metadata import entry_points

    return entry_points(group=group)


def load(reference: str, *, field: str) -> Any:
    """Return what `module:name` names. The folder in which the program was started is looked in last.

    field: the setting that names it.

    Raises: PluginError if the module cannot be imported, or has nothing of that name.
    """
    module, _, name = reference.partition(":")
    with _working_folder():
        try:
            found = importlib.import_module(module)
        except (Exception, SystemExit) as error:  # the code of others fails in many ways
            raise PluginError(f"{reference}: cannot be imported ({short(error)})", field=field) from error
    if not hasattr(found, name):
        raise PluginError(f"{reference}: the module {module} has no {name}", field=field)
    return getattr(found, name)


def code_of(reference: str, *, field: str) -> tuple[Path, str]:
    """Return the file of the module in `module:name`, and the SHA-256 of the code: of a package that of all its modules.

    Raises: PluginError if there is no such module.
    """
    module = reference.partition(":")[0]
    top = module.partition(".")[0]
    with _working_folder():
        try:
            spec, package = find_spec(module), find_spec(top)
        except (Exception, SystemExit) as error:  # a package on the way is imported
            raise PluginError(f"{reference}: cannot be imported ({short(error)})", field=field) from error
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise PluginError(
            f"{reference}: there is no module {module}", field=field, hint="install it, or start from its folder"
        )
    folders = [] if package is None else [Path(p) for p in package.submodule_search_locations or ()]
    files = sorted(file for folder in folders for file in folder.rglob("*.py")) or [Path(spec.origin)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return Path(spec.origin), digest.hexdigest()


def short(error: BaseException) -> str:
    """Return the kind and the first line of a foreign error, cut if it is long."""
    text = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0].rstrip(": ")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


@contextmanager
def _working_folder() -> Iterator[None]:
    """Look for modules in the working folder as well, after all other places: a console script does not look there."""
    try:
        folder = str(Path.cwd())
    except OSError:
        # It was removed: nothing can be found in it.
        folder = ""
    if not folder or folder in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
