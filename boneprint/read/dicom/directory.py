"""A DICOMDIR: the files that a disc or an export says it holds."""

from pathlib import Path

import pydicom

from boneprint.errors import ReadError
from boneprint.read.content import refusal
from boneprint.read.dicom.header import quiet


def listed_files(path: Path) -> tuple[list[Path], list[str]]:
    """The files that a DICOMDIR lists, below its own folder; and the names of those that are not there.

    Raises
    ------
    ReadError
        If it is damaged, or a name in it leads out of its folder.
    """
    try:
        with quiet():
            records = pydicom.dcmread(path, force=True).get("DirectoryRecordSequence") or []
            names = [record.get("ReferencedFileID") for record in records]
    except Exception as error:  # a damaged file raises whatever the parser stumbled over
        raise refusal(path, error, "The DICOMDIR is damaged; give the folder of the images instead.") from error
    found, lost = [], []
    folder = path.parent.resolve()
    for name in names:
        if name is None or name == "":
            continue
        parts = [name] if isinstance(name, str) else [str(part) for part in name]
        if any(part in ("", ".", "..") or "/" in part or "\\" in part or "\0" in part for part in parts):
            raise ReadError(
                f"{path}: it lists {'/'.join(parts)!r}, which leads out of its folder. Do not trust it; "
                "give the folder of the images instead."
            )
        # Discs are often copied in lower case.
        places = [folder.joinpath(*parts), folder.joinpath(*(part.lower() for part in parts))]
        there = next((place for place in places if place.is_file()), None)
        if there is None:
            lost.append("/".join(parts))
        elif folder in there.resolve().parents:
            found.append(there)
        else:
            raise ReadError(f"{path}: {'/'.join(parts)!r} is a link out of its folder. Do not trust it.")
    return found, lost
