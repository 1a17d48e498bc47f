"""What the library's files are called and how one is put into the hooks directory: chosen here, once.

Linux links them. Windows copies them: a link there needs a right of its own, and is refused as a hook.
"""
from __future__ import annotations

import sys
from pathlib import Path

if sys.platform == "win32":
    import filecmp
    import shutil

    from tideover.hooks.windows.interpreters import command_for
    from tideover.system.directories import make_own_directory

    FOLDER = "windows"
    HOW_DISABLED = "Rename a file of your own to NN-name.off to disable it"
    _SUFFIX = ".py"

    def names_in(place: Path) -> list[str]:
        """Given the library, return the names of its files that are hooks, without suffix."""
        return [path.stem for path in place.iterdir() if path.suffix == _SUFFIX]

    def file_of(place: Path, name: str) -> Path:
        """Given the library and a hook's name, return the file."""
        return place / f"{name}{_SUFFIX}"

    def stem_of(file: str) -> str:
        """Given the name of a file of the hooks directory, return it without suffix."""
        return file.rpartition(".")[0] or file

    def put(source: Path, directory: Path, stage: int) -> Path:
        """Given the library's file, the hooks directory and a stage, put it there; return where. Raise OSError."""
        make_own_directory(directory, 0o755)
        target = directory / f"{stage:02d}-{source.name}"
        shutil.copyfile(source, target)
        return target

    def is_from(file: Path, source: Path) -> bool:
        """Given a file of the hooks directory and one of the library, return whether it is that, unchanged."""
        return source.is_file() and filecmp.cmp(file, source, shallow=False)

    def describing(source: Path) -> str:
        """Given the library's file, return the command that has it describe itself."""
        return command_for(str(source), "describe")

else:
    FOLDER = ""
    HOW_DISABLED = "chmod -x disables a file of your own"

    def names_in(place: Path) -> list[str]:
        """Given the library, return the names of its files."""
        return [path.name for path in place.iterdir() if path.is_file()]

    def file_of(place: Path, name: str) -> Path:
        """Given the library and a hook's name, return the file."""
        return place / name

    def stem_of(file: str) -> str:
        """Given the name of a file of the hooks directory, return it: there are no suffixes here."""
        return file

    def put(source: Path, directory: Path, stage: int) -> Path:
        """Given the library's file, the hooks directory and a stage, link it there; return the link. Raise OSError."""
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        link = directory / f"{stage:02d}-{source.name}"
        link.symlink_to(source)
        return link

    def is_from(file: Path, source: Path) -> bool:
        """Given a file of the hooks directory and one of the library, return whether it is a link to that."""
        return file.is_symlink() and file.readlink() == source

    def describing(source: Path) -> list[str]:
        """Given the library's file, return the command that has it describe itself."""
        return [str(source), "describe"]
