"""A study at a DICOMweb server, fetched into a folder that goes away by itself."""

import re
import tempfile
from pathlib import Path

from boneprint.errors import ReadError
from boneprint.read.content import refusal

_STUDY = re.compile(r"(?P<root>https?://.+?)/studies/(?P<study>[0-9.]+)(/series/(?P<series>[0-9.]+))?/?$")


def fetched(url: str) -> tempfile.TemporaryDirectory[str]:
    """Fetch a study, or one of its series (WADO-RS, PS3.18), into a temporary folder.

    Parameters
    ----------
    url : ``http(s)://SERVER/ROOT/studies/UID`` or ``.../studies/UID/series/UID``; ``user:password@`` before the server

    Raises
    ------
    ReadError
        If it is no such URL, dicomweb-client is not installed, or the server does not answer with images.
    """
    found = _STUDY.match(url)
    shown = re.sub(r"//[^/@]*@", "//", url)  # no password in a message
    if not found:
        raise ReadError(f"{shown}: no DICOMweb study, expected http(s)://SERVER/ROOT/studies/UID[/series/UID].")
    try:
        from dicomweb_client import DICOMwebClient
    except ImportError as error:
        raise ReadError(
            f"{shown}: dicomweb-client is not installed. Install it: pip install 'boneprint[site]'."
        ) from error
    folder = tempfile.TemporaryDirectory(prefix="boneprint-")
    try:
        client = DICOMwebClient(found["root"])  # requests takes user and password from the URL
        client.set_http_retry_params(retry=False)  # a wrong address is said at once, not after half a minute
        if found["series"]:
            instances = client.iter_series(found["study"], found["series"])
        else:
            instances = client.iter_study(found["study"])
        number = 0
        for number, dataset in enumerate(instances, start=1):
            dataset.save_as(Path(folder.name) / f"{number:06d}", enforce_file_format=True)
    except Exception as error:  # requests, urllib3 and the client each fail in their own way
        way_out = "Check the address, the study's UID, and that the server speaks DICOMweb."
        raise refusal(shown, RuntimeError(re.sub(r"//[^/@\s]*@", "//", str(error))), way_out) from None
    if not number:
        raise ReadError(f"{shown}: the study holds no images, expected a CT or radiographs. Check its UID.")
    return folder
