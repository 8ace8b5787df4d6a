"""The page docs/file-format.md holds."""

import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from test_index_enrolment import make_bone

from boneprint.index import Store

PAGE = (Path(__file__).parent.parent / "docs" / "file-format.md").read_text(encoding="utf-8")


def test_the_page_reads_a_store_with_h5py_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with Store.open("bones.h5", writable=True, embedder="fake:1", dim=8) as store:
        store.append([make_bone(0, views=2), make_bone(1, views=5)])
        store.checkpoint()
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(snippet, {})
    assert capsys.readouterr().out == "bone-0 side unknown (2, 8)\nbone-1 L (5, 8)\n"


def test_the_page_names_every_dataset_and_attribute(tmp_path):
    with Store.open(tmp_path / "bones.h5", writable=True, embedder="fake:1", dim=8) as store:
        store.append([replace(make_bone(0), pictures=(b"PNG",) * 3, solid=b"a grid")])
        store.checkpoint()
    with h5py.File(tmp_path / "bones.h5") as file:
        names: list[str] = []
        file.visit(names.append)
        assert [
            name for name in [*file.attrs, *names] if f"`{name}`" not in PAGE and name.split("/")[-1] not in PAGE
        ] == []
        assert np.array_equal(file["vectors"][()], make_bone(0).vectors)
