"""Where the modules are: the tree of files that the jobs read."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from django.conf import settings

OTHER_PEOPLES = {"site-packages", "dist-packages", "__pycache__"}


class OutsideTheLibrary(ValueError):
    """A job names a path that does not lie in the library."""


def module_paths(packages: Collection[str] = ()) -> Iterator[str]:
    """The path of each module below the library's root, of all packages or of those named."""
    for folder, subfolders, files in os.walk(settings.LIBRARY):
        subfolders[:] = sorted(set(subfolders) - OTHER_PEOPLES)
        for file in sorted(files):
            if file.endswith(".py"):
                path = Path(folder, file).relative_to(settings.LIBRARY).as_posix()
                if not packages or top_level_name(path) in packages:
                    yield path


def locate(path: str) -> Path:
    """The file of a module; raises OutsideTheLibrary for a path that leads elsewhere."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or pure.suffix != ".py":
        raise OutsideTheLibrary(f"{path!r} is not the path of a module below {settings.LIBRARY}.")
    return Path(settings.LIBRARY, pure)


def is_package(path: str) -> bool:
    return PurePosixPath(path).name == "__init__.py"


def module_name(path: str) -> str:
    """What `import` calls it: `json/__init__.py` is `json`, `json/tool.py` is `json.tool`."""
    pure = PurePosixPath(path)
    parts = (
        pure.parts[:-1] if is_package(path) and len(pure.parts) > 1 else pure.with_suffix("").parts
    )
    return ".".join(parts)


def is_module(name: str) -> bool:
    """Whether the library has a module of that dotted name."""
    file = Path(settings.LIBRARY, *name.split("."))
    return file.with_suffix(".py").is_file() or (file / "__init__.py").is_file()


def top_level_name(path: str) -> str:
    return module_name(path).partition(".")[0]
