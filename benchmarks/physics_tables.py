"""Make ``boneprint/drr/tables/*.csv`` anew: attenuation of materials, and spectra of a tungsten tube.

A tool of the developer, not of the user: ``pip install xraydb==4.5.8 spekpy==2.5.4`` in an environment of its own, then
``python benchmarks/physics_tables.py boneprint/drr/tables``. No random numbers: the same versions write the same bytes.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import spekpy
import xraydb

# Reference densities (g/cm3) and weight fractions. NIST, Hubbell and Seltzer, NISTIR 5632, tables 1 and 2 (tissues
# after ICRU Report 44, 1989); steel: PNNL-15870 Rev. 1, "Steel, Stainless 316L".
MATERIALS = {
    "soft_tissue": (
        1.06,
        {"H": 0.102, "C": 0.143, "N": 0.034, "O": 0.708, "Na": 0.002, "P": 0.003, "S": 0.003, "Cl": 0.002, "K": 0.003},
    ),
    "bone": (
        1.92,
        {"H": 0.034, "C": 0.155, "N": 0.042, "O": 0.435, "Na": 0.001, "Mg": 0.002, "P": 0.103, "S": 0.003, "Ca": 0.225},
    ),
    "adipose": (0.95, {"H": 0.114, "C": 0.598, "N": 0.007, "O": 0.278, "Na": 0.001, "S": 0.001, "Cl": 0.001}),
    "water": (1.0, {"H": 0.111898, "O": 0.888102}),
    "air": (1.205e-3, {"C": 0.000124, "N": 0.755268, "O": 0.231781, "Ar": 0.012827}),
    "titanium": (4.54, {"Ti": 1.0}),
    "steel": (
        8.0,
        {"C": 0.0003, "Si": 0.01, "P": 0.00045, "S": 0.0003, "Cr": 0.17, "Mn": 0.02, "Fe": 0.65395, "Ni": 0.12}
        | {"Mo": 0.025},
    ),
    "aluminium": (2.699, {"Al": 1.0}),
}
# Fine enough that log-log interpolation between neighbours errs less than 0.1 %; `attenuation` checks it.
GRID_KEV = np.concatenate(
    [np.arange(10, 20, 0.25), np.arange(20, 40, 0.5), np.arange(40, 100, 1), np.arange(100, 201, 2)]
)
INTERPOLATION = 1e-3

TUBE_KVP = np.arange(40, 151, 5)
ANODE_DEG = 12.0
FILTER_MM_AL = 2.5


def mass_attenuation(fractions: dict[str, float], kev: np.ndarray) -> np.ndarray:
    """Total with coherent scattering, cm2/g."""
    return sum(share * xraydb.mu_elam(element, 1e3 * kev, kind="total") for element, share in fractions.items())


def edges_kev() -> list[float]:
    elements = {element for _, fractions in MATERIALS.values() for element in fractions}
    energies = {edge.energy / 1e3 for element in elements for edge in xraydb.xray_edges(element).values()}
    return sorted(e for e in energies if GRID_KEV[0] < e < GRID_KEV[-1])


def attenuation() -> str:
    edges = edges_kev()
    off_edge = [e for e in GRID_KEV if not any(abs(e - edge) < 1e-3 for edge in edges)]
    kev = np.array(sorted(off_edge + [edge + side for edge in edges for side in (-5e-4, 5e-4)]))
    columns = {name: mass_attenuation(fractions, kev) for name, (_, fractions) in MATERIALS.items()}

    between = np.exp(np.linspace(np.log(kev[0]), np.log(kev[-1]), 20_001))
    between = between[[all(abs(e - edge) > 1e-3 for edge in edges) for e in between]]
    for name, (_, fractions) in MATERIALS.items():
        read = np.exp(np.interp(np.log(between), np.log(kev), np.log(columns[name])))
        error = np.abs(read / mass_attenuation(fractions, between) - 1).max()
        print(f"{name}: interpolation errs by at most {100 * error:.3f} %")
        assert error < INTERPOLATION, f"{name}: a finer GRID_KEV is needed"

    header = [
        "# Mass attenuation (total with coherent scattering) in cm2/g over photon energy in keV.",
        "# Compositions and densities: NIST NISTIR 5632 (tissues ICRU-44); steel is 316L after PNNL-15870 Rev. 1.",
        "# Elements: W. T. Elam, B. D. Ravel, J. R. Sieber, Radiat. Phys. Chem. 63, 121-128, 2002, from xraydb "
        f"{version('xraydb')} (MIT).",
        "# Made by benchmarks/physics_tables.py. Two rows stand at either side of an absorption edge (Mo K in steel).",
        ",".join(["kev", *MATERIALS]),
        ",".join(["g/cm3", *(f"{density:g}" for density, _ in MATERIALS.values())]),
    ]
    rows = [
        ",".join([f"{e:g}" if e % 0.25 == 0 else f"{e:.4f}", *(f"{columns[name][i]:.5g}" for name in MATERIALS)])
        for i, e in enumerate(kev)
    ]
    return "\n".join(header + rows) + "\n"


def spectra() -> str:
    columns = []
    for kvp in TUBE_KVP:
        tube = spekpy.Spek(kvp=float(kvp), th=ANODE_DEG, dk=1.0, physics="casim", mu_data_source="nist")
        tube.filter("Al", FILTER_MM_AL)
        kev, fluence = tube.get_spectrum(edges=False)
        columns.append(dict(zip(kev, fluence, strict=True)))
        print(f"{kvp} kVp: first half-value layer {tube.get_hvl1():.3f} mm Al")
    kev = np.arange(10.5, TUBE_KVP[-1], 1.0)
    header = [
        "# Photons per keV, cm2 and mAs at 1 m from a tungsten anode, at the middle of 1 keV bins, by tube kVp.",
        f"# Anode angle {ANODE_DEG:g} degrees, behind {FILTER_MM_AL:g} mm of aluminium, no air.",
        f"# SpekPy {version('spekpy')} (MIT), physics casim, NIST coefficients: G. Poludniowski et al., Med. Phys. 48, "
        "3630-3637, 2021.",
        "# Made by benchmarks/physics_tables.py.",
        ",".join(["kev", *(str(kvp) for kvp in TUBE_KVP)]),
    ]
    rows = [",".join([f"{e:g}", *(f"{column.get(e, 0.0):.4g}" for column in columns)]) for e in kev]
    return "\n".join(header + rows) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "attenuation.csv").write_text(attenuation())
    (folder / "spectra.csv").write_text(spectra())
