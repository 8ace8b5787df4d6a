"""A database for other weights holds the same bones, whatever is kept of them; what cannot be made again is told."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import boneprint
from boneprint import BoneprintError, StoreError
from boneprint.cli import main
from boneprint.embed import weights
from boneprint.embed.card import SHIPPED
from boneprint.index import Store
from boneprint.nouns import Enrolment
from boneprint.read import write_ct_series
from boneprint.reindex import reindex
from boneprint.simulate import Scanner, individual


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Weights of another name, and so another embedder."""
    network, card = weights.load(SHIPPED)
    path = tmp_path_factory.mktemp("weights") / "other-1"
    weights.save(network, path, {**card, "name": "other-1", "cohort": None})
    return path


def vectors_of(path):
    gallery = Store.open(path).gallery()
    return {r.bone_id: gallery.rows.of(row).astype(np.float32) for row, r in enumerate(gallery.references)}


def test_bones_are_embedded_again_from_their_grids_and_found_as_before(bones_h5, probe_pngs, others, tmp_path):
    told = []
    done = reindex(
        bones_h5, tmp_path / "new.h5", weights=others, report=lambda bones, total: told.append((bones, total))
    )
    assert told == [(n, 4) for n in range(1, 5)]
    assert len(done.made) == 4
    assert not done.kept
    assert not done.failed
    before, after = vectors_of(bones_h5), vectors_of(tmp_path / "new.h5")
    assert before.keys() == after.keys()
    # The grid has 255 levels of grey, and the same network looks at it.
    assert max(np.linalg.norm(before[bone] - after[bone], axis=1).max() for bone in before) < 0.15
    with boneprint.open(bones_h5) as old, boneprint.open(tmp_path / "new.h5", weights=others) as new:
        strip = lambda r: replace(r, canvas_mm=0.0)  # noqa: E731
        assert {strip(r) for r, _ in old.bones()} == {strip(r) for r, _ in new.bones()}
        assert new.search(probe_pngs["ap"], 1).candidates[0].reference.subject_id == "SIM-4711-0002"
        entries, findings = new.audit()
        assert [entry.what for entry in entries][:1] == ["ingest"]
        assert not findings


def test_a_run_that_was_stopped_goes_on_and_a_file_is_never_made_of_itself(bones_h5, others, tmp_path, monkeypatch):
    def stop(bones, total):
        if bones == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("boneprint.reindex._AT_ONCE", 3)
    with pytest.raises(KeyboardInterrupt):
        reindex(bones_h5, tmp_path / "new.h5", weights=others, report=stop)
    done = reindex(bones_h5, tmp_path / "new.h5", weights=others)
    assert (len(done.made), len(done.kept)) == (1, 3)
    with pytest.raises(BoneprintError, match="both are one file"):
        reindex(tmp_path / "new.h5", tmp_path / "new.h5", weights=others)


def test_without_grid_the_pictures_serve_and_without_either_the_ct(cohort_dir, probe_pngs, others, tmp_path):
    cts = tmp_path / "cts"
    shutil.copytree(cohort_dir / "SIM-4711-0002", cts / "a")
    with boneprint.open(tmp_path / "pictures.h5", writable=True) as database:
        database.ingest(cts, keep_solids=False, keep_views=True)
    with boneprint.open(tmp_path / "ct.h5", writable=True) as database:
        database.ingest(cts, keep_solids=False)
        database.enrol(probe_pngs["ap"], subject="S-9", bone="femur")
    from_ct = reindex(tmp_path / "ct.h5", tmp_path / "ct-new.h5", weights=others)
    assert len(from_ct.made) == 1
    ((_, reason),) = from_ct.failed
    assert "enrol its radiographs again" in reason
    shutil.rmtree(cts)
    assert len(reindex(tmp_path / "pictures.h5", tmp_path / "pictures-new.h5", weights=others).made) == 1
    (by_ct,), (by_pictures,) = (vectors_of(tmp_path / f"{name}-new.h5").values() for name in ("ct", "pictures"))
    assert np.linalg.norm(by_ct - by_pictures, axis=1).max() < 0.3
    gallery = Store.open(tmp_path / "pictures-new.h5").gallery()
    assert gallery.picture(0) == Store.open(tmp_path / "pictures.h5").gallery().picture(0)

    words = ["reindex", str(tmp_path / "ct.h5"), "-o", str(tmp_path / "gone.h5"), "--weights", str(others), "--json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    ((_, said),) = [each.values() for each in json.loads(done.stdout)["failed"] if "radiographs" not in each["error"]]
    assert "no such file or folder" in said


def test_a_vertebra_of_an_older_database_is_tilted_from_its_grid_or_ct_and_level_from_its_pictures(others, tmp_path):
    """Oracle: ingested anew. An older database holds level views only, and has no tilts."""
    volume, _ = individual(5, 0, bone="vertebra").scan(Scanner((1.5, 1.5, 1.5), 0.0, 0.6, 10.0))
    write_ct_series(tmp_path / "ct", volume, subject_id="SIM-V", body_part="vertebra")
    with boneprint.open(tmp_path / "whole.h5", writable=True) as database:
        database.ingest(tmp_path / "ct", keep_views=True)
        now = database.store.gallery()
    level = slice(0, 36)
    pictures, solid = tuple(now.picture(view) for view in range(36)), bytes(now.solid(0))
    bare = Enrolment(now.references[0], now.rows.of(0)[level].astype(np.float32), now.angles_deg[level])
    kept = {"grid": {"pictures": pictures, "solid": solid}, "pictures": {"pictures": pictures}, "ct": {}}
    found = {}
    for name, what in kept.items():
        with Store.open(tmp_path / f"{name}.h5", writable=True, embedder=now.embedder, dim=now.dim) as store:
            store.append([replace(bare, **what)])
        done = reindex(tmp_path / f"{name}.h5", tmp_path / f"{name}-new.h5", weights=others)
        assert (len(done.made), done.failed) == (1, ())
        found[name] = Store.open(tmp_path / f"{name}-new.h5").gallery()
    directions = [now.direction(view) for view in range(108)]
    for name, views in (("grid", 108), ("pictures", 36), ("ct", 108)):
        gallery = found[name]
        assert gallery.views == views
        assert gallery.references[0].canvas_mm == now.references[0].canvas_mm
        assert [gallery.direction(view) for view in range(views)] == directions[:views]
        apart = np.linalg.norm(gallery.rows.of(0) - now.rows.of(0)[:views], axis=1)
        assert apart.max() < 0.15
        assert sum(gallery.picture(view) is not None for view in range(views)) == (0 if name == "ct" else views)


def test_a_database_of_other_weights_names_the_way_out(bones_h5, others):
    with pytest.raises(StoreError, match="boneprint reindex"):
        boneprint.open(bones_h5, weights=others)
