"""`boneprint evaluate`: from a truth file to error rates, with fingerprints made here instead of a network."""

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image
from test_cli import refused, run

from boneprint.database import Database
from boneprint.errors import BoneprintError, ReadError
from boneprint.evaluation import evaluate
from boneprint.evaluation_report import evaluation_json, evaluation_tables
from boneprint.nouns import Enrolment, Fingerprint, Reference
from boneprint.plots import write_plots
from boneprint.truth import read_truth

ENROLLED, STRANGERS, DIM, CANVAS_MM = 8, 3, 128, 560.0
SPOILT = 99


class Told(Database):
    """A database whose radiographs say in their grey values whose they are, and how unlike their bone they look."""

    def fingerprint(self, xrays, *, pixel_spacing_mm=None, mirror=False, angles_deg=None):
        rows = []
        for radiograph in xrays:
            person, picture = (round(float(v)) for v in radiograph.pixels[0, :2])
            if person == SPOILT:
                raise ReadError(f"{radiograph.source}: spoilt")
            rows.append(towards(person, 0.25, seed=1000 * person + picture))
        return Fingerprint({CANVAS_MM: np.stack(rows)}, self.store.embedder, angles_deg=angles_deg)


def towards(person, unlike, seed):
    """A unit vector near the person's own direction."""
    own = np.random.default_rng(person).normal(size=DIM)
    vector = own / np.linalg.norm(own) + unlike * np.random.default_rng(seed).normal(size=DIM) / np.sqrt(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def enrolment(person, *, part="whole", laterality="L", bone="femur"):
    vectors = np.stack([towards(person, 0.2, seed=7000 + 10 * person + view) for view in range(4)])
    name = f"{person}-{part}-{laterality}-{bone}"
    reference = Reference(name, f"S-{person}", bone, laterality, "nowhere", name, part, CANVAS_MM)
    return Enrolment(reference, vectors, np.arange(4, dtype=np.float32))


@pytest.fixture
def told(tmp_path):
    with Told.open(tmp_path / "told.h5", writable=True) as database:
        database.store.append([enrolment(person) for person in range(ENROLLED)])
        database.store.checkpoint()
        yield database


@pytest.fixture
def truth(tmp_path):
    """Two radiographs of each of eight people enrolled and three who are not, AP and ML."""
    lines = [
        {"path": xray(tmp_path, person, picture), "subject_id": f"S-{person}", "view": view}
        for person in range(ENROLLED + STRANGERS)
        for picture, view in enumerate(("AP", "ML"))
    ]
    return written(tmp_path / "truth.csv", lines)


def xray(folder, person, picture):
    """A radiograph that says whose it is; its path from the folder."""
    pixels = np.zeros((16, 16), np.uint8)
    pixels[0, :2] = person, picture
    pixels[1, 1] = 255
    Image.fromarray(pixels).save(folder / f"{person}-{picture}.png")
    return f"{person}-{picture}.png"


def written(path, lines):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(lines[0]))
        table.writeheader()
        table.writerows(lines)
    return path


def test_a_perfect_embedder_has_no_errors_but_bounds_on_them(told, truth):
    found = evaluate(told, truth, draws=100)
    whole = found.parts[0].outcome
    assert (found.gallery, whole.mated, whole.unmated) == (ENROLLED, 2 * ENROLLED, 2 * STRANGERS)
    assert whole.cumulative_match[0].value == 1.0
    assert whole.cumulative_match[0].interval == (1 - 3 / ENROLLED, 1.0)
    assert whole.false_positive.bones == STRANGERS
    assert whole.verification.equal_error[0] == 0.0
    # Every probe with every enrolled bone, its own once.
    assert (whole.verification.genuine, whole.verification.impostor) == (16, 22 * ENROLLED - 16)


def test_distances_and_ranks_are_those_of_a_search(told, truth):
    """Oracle: the database's own search, candidate by candidate."""
    found = evaluate(told, truth, draws=100)
    for probe, number, fingerprint, distances in zip(
        found.probes, found.searches.truth, found.fingerprints, found.searches.distance
    ):
        candidates = told.search(fingerprint, ENROLLED).candidates
        for candidate in candidates:
            column = found.bones.index(f"{candidate.reference.subject_id} femur L")
            assert distances[column] == pytest.approx(candidate.distance, abs=1e-6)
        if number < found.gallery:
            assert candidates[0].reference.subject_id == probe.subject_id


def test_every_stratum_is_measured_by_itself(told, truth):
    found = evaluate(told, truth, draws=100)
    assert [part.stratum for part in found.parts] == [None, ("view", "AP"), ("view", "ML")]
    assert [part.outcome.mated for part in found.parts] == [16, 8, 8]


def test_radiographs_of_one_probe_are_searched_with_together(told, tmp_path):
    lines = [
        {"path": xray(tmp_path, person, picture), "probe": f"p{person}", "subject_id": f"S-{person}", "view": view}
        for person in range(3)
        for picture, view in enumerate(("AP", "ML") if person else ("ML", "AP"))
    ]
    lines.append({"path": xray(tmp_path, 4, 0), "probe": "", "subject_id": "S-4", "view": "AP"})
    found = evaluate(told, written(tmp_path / "pairs.csv", lines), draws=100)
    assert [(part.radiographs, part.stratum) for part in found.parts] == [
        (1, None),
        (1, ("view", "AP")),
        (2, None),
        (2, ("view", "AP + ML")),
    ]
    assert found.parts[0].threshold.kind != found.parts[2].threshold.kind


def test_what_cannot_be_read_failed_to_acquire_and_missed_its_bone(told, tmp_path):
    lines = [{"path": xray(tmp_path, person, 0), "subject_id": f"S-{person}"} for person in range(3)]
    lines.append({"path": xray(tmp_path, SPOILT, 0), "subject_id": "S-4"})
    said = []
    found = evaluate(told, written(tmp_path / "t.csv", lines), draws=100, report=lambda *each: said.append(each[2]))
    whole = found.parts[0].outcome
    assert whole.failure_to_acquire.value == 0.25
    assert whole.cumulative_match[0].value == 0.75
    assert whole.verification.false_non_match == 0.0
    assert "spoilt" in found.errors[3]
    assert "spoilt" in said[3]


def test_bones_that_ought_to_be_enrolled_and_are_not_failed_to_enrol(told, tmp_path):
    lines = [
        {"path": xray(tmp_path, person, 0), "subject_id": f"S-{person}", "enrolled": "yes" if person < 10 else "no"}
        for person in (0, 1, 2, 9, 10)
    ]
    found = evaluate(told, written(tmp_path / "t.csv", lines), draws=100)
    assert (found.failure_to_enrol.value, found.failure_to_enrol.trials) == (0.25, 4)
    assert found.parts[0].outcome.unmated == 2


def test_other_bones_of_the_right_person_are_neither_genuine_nor_impostor(told, tmp_path):
    # The same direction: were it an impostor, the other side would be a false match at every threshold.
    told.store.append([enrolment(0, laterality="R")])
    lines = [
        {"path": xray(tmp_path, person, 0), "subject_id": f"S-{person}", "laterality": side}
        for person, side in ((0, "L"), (1, "L"))
    ]
    found = evaluate(told, written(tmp_path / "t.csv", lines), draws=100)
    assert found.gallery == ENROLLED + 1
    assert found.parts[0].outcome.verification.impostor == (ENROLLED - 1) + ENROLLED
    assert found.searches.rank.tolist() == [1, 1]
    lines[0]["laterality"] = ""
    with pytest.raises(BoneprintError, match="any of 2 bones of S-0"):
        evaluate(told, written(tmp_path / "t.csv", lines), draws=100)


def test_two_scans_of_one_bone_are_one_bone(told, tmp_path):
    again = enrolment(0)
    reference = Reference("again", "S-0", "femur", "L", "elsewhere", "another hash", "whole", CANVAS_MM)
    told.store.append([Enrolment(reference, again.vectors, again.angles_deg)])
    lines = [{"path": xray(tmp_path, person, 0), "subject_id": f"S-{person}"} for person in range(2)]
    found = evaluate(told, written(tmp_path / "t.csv", lines), draws=100)
    assert (found.gallery, found.references) == (ENROLLED, ENROLLED + 1)


def test_a_filter_makes_the_gallery_smaller(told, truth):
    found = evaluate(told, truth, where=["subject!=S-7"], draws=100)
    assert found.gallery == ENROLLED - 1
    assert found.parts[0].outcome.unmated == 2 * (STRANGERS + 1)


def test_an_evaluation_comes_again_from_its_seed(told, truth):
    first, second = (evaluation_json(evaluate(told, truth, seed=3, draws=100)) for _ in range(2))
    first.pop("seconds"), second.pop("seconds")
    assert first == second


def test_json_says_gallery_size_rank_and_threshold_and_has_no_infinity(told, truth):
    said = evaluation_json(evaluate(told, truth, draws=100))
    json.loads(json.dumps(said, allow_nan=False))
    whole = said["outcomes"][0]
    assert {rate["N"] for rate in whole["fnir"]} == {whole["fpir"]["N"]} == {ENROLLED}
    assert {rate["T"] for rate in whole["fnir"]} == {whole["threshold"]["value"]}
    assert [rate["R"] for rate in whole["fnir"]] == [1, 5]
    (thousandth, _) = whole["verification"]["fnmr_at_fmr"]
    assert thousandth["fnmr"] is None
    assert "1000 are needed" in thousandth["remark"]


def test_tables_name_every_measure(told, truth, capsys):
    evaluation_tables(evaluate(told, truth, draws=100))
    said = capsys.readouterr().out
    for word in ("N = 8", "T = ", "CMC", "FNIR(N, 1, T)", "FPIR(N, T)", "FMR(T)", "FNMR(T)", "EER", "view AP"):
        assert word in said


def test_pictures_are_drawn(told, truth, tmp_path):
    paths = write_plots(told, evaluate(told, truth, draws=100), tmp_path / "plots")
    assert [path.stem for path in paths] == ["cmc", "det", "distances", "pca", "tsne"]
    for path in paths:
        picture = np.asarray(Image.open(path).convert("L"))
        assert picture.shape[0] > 500
        assert len(np.unique(picture)) > 20


def test_without_matplotlib_the_way_out_is_said_before_anything_is_searched(bones_h5, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    said = refused(run("evaluate", tmp_path / "none.csv", "--db", bones_h5, "--plots", tmp_path), "boneprint[plots]")
    assert said


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([{"file": "a.png", "subject_id": "S-1"}], "at least path"),
        ([{"path": "lost.png", "subject_id": "S-1"}], "no radiograph"),
        ([{"path": "1-0.png", "subject_id": ""}], "whose bone"),
        ([{"path": "1-0.png", "subject_id": "S-1", "enrolled": "perhaps"}], "yes, no or nothing"),
        ([{"path": "1-0.png", "subject_id": "S-1", "pixel_spacing_mm": "wide"}], "mm per pixel"),
        (
            [
                {"path": "1-0.png", "probe": "p", "subject_id": "S-1"},
                {"path": "1-0.png", "probe": "p", "subject_id": "S-2"},
            ],
            "S-1 and S-2",
        ),
    ],
)
def test_a_truth_file_that_cannot_be_meant_is_refused(tmp_path, lines, said):
    xray(tmp_path, 1, 0)
    with pytest.raises(BoneprintError, match=said):
        read_truth(written(tmp_path / "t.csv", lines))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"bone_id": "nobody", "subject_id": ""}, "no bone nobody is enrolled"),
        ({"bone_id": "", "subject_id": "S-1", "enrolled": "no"}, "the file says no"),
    ],
)
def test_a_truth_that_contradicts_the_gallery_is_refused(told, tmp_path, line, said):
    with pytest.raises(BoneprintError, match=said):
        evaluate(told, written(tmp_path / "t.csv", [{"path": xray(tmp_path, 1, 0), **line}]))


def test_a_column_of_measurements_is_no_stratum(told, tmp_path):
    lines = [{"path": xray(tmp_path, 1, n), "subject_id": "S-1", "angle": n, "view": n % 2} for n in range(21)]
    path = written(tmp_path / "t.csv", lines)
    with pytest.raises(BoneprintError, match="angle has 21 values"):
        evaluate(told, path, draws=100)
    assert len(evaluate(told, path, by=["view"], draws=100).parts) == 3
    with pytest.raises(BoneprintError, match="no such column"):
        evaluate(told, path, by=["pose"])


def test_the_command_needs_a_truth_file(bones_h5, tmp_path):
    assert refused(run("evaluate", tmp_path / "none.csv", "--db", bones_h5), "no truth file")


def test_the_command_measures_radiographs_with_the_shipped_network(bones_h5, probe_pngs):
    """AP twice and ML of one person, AP of another, all enrolled."""
    lines = [
        {"path": probe_pngs[name].name, "subject_id": f"SIM-4711-000{person}"}
        for name, person in (("ap", 2), ("ap-again", 2), ("ml", 2), ("stranger", 1))
    ]
    path = written(probe_pngs["ap"].parent / "truth.csv", lines)
    result = run("evaluate", path, "--db", bones_h5, "--json", "--draws", 100)
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["gallery"]["bones"] == 4
    assert [search["rank"] for search in said["searches"]] == [1, 1, 1, 1]
