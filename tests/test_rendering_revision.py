"""Pictures that are kept on disk are used again: whoever changes what is rendered has to say so."""

import numpy as np
import pytest

from boneprint import calibration_set, training_visits, two_visits
from boneprint._version import RENDERING
from boneprint.simulate import HEALTHY, TRAINING, Condition, individual

# Means of twelve fields, row by row, of a view, a radiograph and a mark; a vertebra's 108 views would take long.
FIELDS = {
    "vertebra": {
        "AP": "0.2415 0.4748 0.1858 0.3929 0.8387 0.4858 0.4881 0.8658 0.4153 0.1845 0.5080 0.2879",
        "AP_mark": "0.0000 0.0000 0.0000 0.0126 0.3128 0.0198 0.0000 0.3289 0.0265 0.0000 0.0000 0.0000",
    },
    "radius": {
        "pixels": "0.0127 0.1413 0.0000 0.0000 0.1789 0.0086 0.0000 0.1744 0.0093 0.0299 0.1739 0.0077",
        "AP": "0.0108 0.3169 0.4217 0.0197 0.6299 0.1896 0.1873 0.6485 0.0174 0.4444 0.3118 0.0108",
        "AP_mark": "0.0000 0.2008 0.1774 0.0000 0.3550 0.0978 0.0090 0.5014 0.0000 0.2767 0.2162 0.0000",
    },
}
CHANGED = "pictures have changed: raise the number of RENDERING in boneprint/_version.py, and say so in CHANGELOG.md"


@pytest.mark.parametrize(
    ("bone", "number", "condition"), [("vertebra", 26, Condition(neighbours=True)), ("radius", 4, HEALTHY)]
)
def test_pictures_are_those_of_this_revision(bone, number, condition):
    assert RENDERING == "0.1.0-r1", "put the means of the pictures that are rendered now into FIELDS"
    body = individual(3, number, bone=bone, stream=TRAINING)
    made = dict(two_visits.probes(body, condition=condition, marked=True))
    if "pixels" in FIELDS[bone]:
        made |= two_visits.views(body)
    for name, expected in FIELDS[bone].items():
        picture = made[name][4] if name == "pixels" else made[name]
        rows = np.array_split(picture.astype(np.float64), 4)
        means = [field.mean() for row in rows for field in np.array_split(row, 3, axis=1)]
        assert np.allclose(means, np.array(expected.split(), dtype=float), atol=2e-3), CHANGED


def test_what_is_kept_is_named_by_its_revision(tmp_path, monkeypatch):
    monkeypatch.setattr(two_visits, "build", lambda wanted, *more: None)
    kept = [
        *training_visits.build(1, {"hip": 1}, training_visits.TAUGHT_ON, tmp_path)["hip"],
        *calibration_set.build(1, {"hip": 1}, tmp_path)["hip"],
    ]
    assert all(path.name.startswith(f"{RENDERING}-1-hip-") for path in kept)
