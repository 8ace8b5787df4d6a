"""What apparatus and software do to a radiograph: everything off by default, or drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import exp, isfinite, log, sqrt

import numpy as np

from boneprint.drr.attenuation import Material
from boneprint.drr.beam import Beam
from boneprint.drr.energy import KeV, KVp
from boneprint.errors import BoneprintError


class LookUp(StrEnum):
    """How a line integral within the window becomes a grey value."""

    LOG = "log"  # in proportion to it
    GAMMA = "gamma"  # that to the power of gamma
    SIGMOID = "sigmoid"  # a logistic curve over the window, steep in the middle, as film's


class Photometric(StrEnum):
    """Which end of the scale is white, as in DICOM; bone's values are high in MONOCHROME2 and low in MONOCHROME1."""

    MONOCHROME1 = "MONOCHROME1"
    MONOCHROME2 = "MONOCHROME2"


@dataclass(frozen=True)
class Display:
    """From line integrals to grey values 0..1.

    Attributes
    ----------
    look_up : the curve
    window : quantiles of the picture's line integrals that become 0 and 1
    gamma : exponent of ``GAMMA``
    contrast : of ``SIGMOID``: the curve runs from -contrast/2 to contrast/2 of the logistic function
    photometric : which end is white
    bits : 8 or 16: grey values are multiples of 1 / (2^bits - 1); None: they are not rounded
    """

    look_up: LookUp = LookUp.LOG
    window: tuple[float, float] = (0.002, 0.998)
    gamma: float = 1.0
    contrast: float = 6.0
    photometric: Photometric = Photometric.MONOCHROME2
    bits: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.window[0] < self.window[1] <= 1:
            raise BoneprintError(f"display: window {self.window}, expected two rising quantiles in 0..1.")
        if self.bits not in (None, 8, 16):
            raise BoneprintError(f"display: {self.bits} bits, expected 8, 16 or None.")
        _check("display", self, above_0=("gamma", "contrast"))


@dataclass(frozen=True)
class Collimation:
    """A rectangle about the centre of the picture that the shutters leave open.

    Attributes
    ----------
    height_share, width_share : of the picture
    turn_deg : counter-clockwise
    penumbra_mm : sigma of its edges
    """

    height_share: float
    width_share: float
    turn_deg: float = 0.0
    penumbra_mm: float = 1.0

    def __post_init__(self) -> None:
        _check("collimation", self, above_0=("height_share", "width_share", "penumbra_mm"))


@dataclass(frozen=True)
class Marker:
    """A ball of known size in the plane of the object.

    Attributes
    ----------
    diameter_mm : of the ball
    row_share, column_share : its place, 0 to 1 from the first row and column to the last
    material : what it is made of
    energy : at which it attenuates where the exposure has no beam
    """

    diameter_mm: float
    row_share: float = 0.1
    column_share: float = 0.1
    material: Material = Material.STEEL
    energy: KeV = KeV(60)  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        _check("marker", self, above_0=("diameter_mm",))


@dataclass(frozen=True)
class Exposure:
    """What happens to a picture, in the order of the apparatus. Nothing, unless it is said here.

    Attributes
    ----------
    beam : with one, `expose` takes paths in mm of materials; without, line integrals
    marker : a ball for scale
    focal_blur_mm : sigma of the focal spot's penumbra at the object; see `focal_blur_mm`
    collimation : shutters
    scatter, scatter_mm : behind transmission p, ``scatter * p * -ln p`` of the open beam's signal is added, smooth over
        ``scatter_mm`` (sigma)
    quanta : per pixel in the open beam; None: no quantum noise, unless ``quanta_behind`` says how much
    quanta_behind : per mm2 behind the object, as automatic exposure control sets the tube by its chambers; in place of
        ``quanta``
    detector_blur_mm : sigma of the scintillator's spread at the object; it smooths quantum noise, too
    electronic_quanta : rms of the amplifier's noise, in quanta per pixel; needs either number of quanta
    gain_variation : relative rms of the pixels' gains
    gain : factor of the whole signal
    saturation : signal from which on all is the same; 1 is that of the open beam at gain 1
    display : None leaves line integrals as the detector reads them

    References
    ----------
    Scatter rises where much is absorbed and much still comes through, and not in the open beam: B. Ohnesorge et al.,
    Eur. Radiol. 9, 563-569, 1999.
    """

    beam: Beam | None = None
    marker: Marker | None = None
    focal_blur_mm: float = 0.0
    collimation: Collimation | None = None
    scatter: float = 0.0
    scatter_mm: float = 25.0
    quanta: float | None = None
    quanta_behind: float | None = None
    detector_blur_mm: float = 0.0
    electronic_quanta: float = 0.0
    gain_variation: float = 0.0
    gain: float = 1.0
    saturation: float | None = None
    display: Display | None = None

    def __post_init__(self) -> None:
        from_0 = ("focal_blur_mm", "scatter", "detector_blur_mm", "electronic_quanta", "gain_variation")
        above_0 = ("scatter_mm", "quanta", "quanta_behind", "gain", "saturation")
        _check("exposure", self, from_0=from_0, above_0=above_0)
        if self.quanta is not None and self.quanta_behind is not None:
            raise BoneprintError("exposure: quanta in the open beam and behind the object; expected one of the two.")
        if self.electronic_quanta and not self.is_noisy:
            raise BoneprintError("exposure: electronic noise is counted in quanta; say how many there are: quanta=...")

    @property
    def is_noisy(self) -> bool:
        """Whether quanta are counted."""
        return self.quanta is not None or self.quanta_behind is not None

    @property
    def alters_signal(self) -> bool:
        """Whether anything happens between the object and the display."""
        steps = (self.focal_blur_mm, self.collimation, self.scatter, self.is_noisy, self.detector_blur_mm)
        return any(steps) or bool(self.gain_variation or self.saturation) or self.gain != 1

    @classmethod
    def random(cls, seed: int) -> Exposure:
        """An exposure such as natural radiographs have, for line integrals: bone bright, no shutters in sight.

        The seed decides dose (5,000 to 150,000 quanta per mm2 behind the object), blur (0.2 to 0.7 mm), scatter (0.05
        to 0.35, smooth over 15 to 40 mm) and the gamma of the display (0.7 to 1.4).

        Five detectors were measured behind 2.5 uGy, their normal air kerma, and 3.2 times less and more; they counted
        a quarter (powder storage phosphor) to 0.6 of the photons (Phys. Med. Biol. 62, N573-N586, 2017). A uGy is some
        30,000 photons per mm2 (50 to 60 keV; NIST's mass energy-absorption of air). The seed draws evenly in the
        logarithm.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(11,)))
        ranges = {
            "blur_mm": (0.2, 0.7),
            "scatter_mm": (15, 40),
            "scatter": (0.05, 0.35),
            "log_quanta_behind": (log(5_000), log(150_000)),
            "gamma": (0.7, 1.4),
        }
        drawn = {name: float(rng.uniform(*ends)) for name, ends in ranges.items()}
        return cls(
            focal_blur_mm=drawn["blur_mm"],
            scatter=drawn["scatter"],
            scatter_mm=drawn["scatter_mm"],
            quanta_behind=exp(drawn["log_quanta_behind"]),
            display=Display(LookUp.GAMMA, gamma=drawn["gamma"]),
        )

    @classmethod
    def varied(cls, seed: int) -> Exposure:
        """A far wider choice, for training on paths: tubes, doses and software of every kind, either polarity.

        The seed decides 50 to 120 kVp behind 2.5 to 4 mm of aluminium; blur of focal spot and of scintillator, to
        0.5 mm each; scatter to 0.6 over 10 to 50 mm; 300 to 20,000 quanta with 0 to 5 of electronic noise; gains that
        differ by up to 2 %; each at 1 time in 4 a steel ball of 5 to 30 mm, shutters, saturation and MONOCHROME1; and
        any display curve, of 8 or 16 bits.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(12,)))

        def between(low: float, high: float) -> float:
            return float(rng.uniform(low, high))

        def at_times() -> bool:
            return between(0, 1) < 0.25

        shutters = Collimation(between(0.6, 1), between(0.6, 1), between(-5, 5), between(0.5, 3))
        ball = Marker(between(5, 30), between(0, 1), between(0, 1))
        display = Display(
            look_up=list(LookUp)[int(rng.integers(3))],
            window=(between(0, 0.02), between(0.98, 1)),
            gamma=between(0.6, 1.6),
            contrast=between(3, 10),
            photometric=Photometric.MONOCHROME1 if at_times() else Photometric.MONOCHROME2,
            bits=(8, 16)[int(rng.integers(2))],
        )
        return cls(
            beam=Beam.spectrum(KVp(between(50, 120)), between(2.5, 4)).thinned(),
            marker=ball if at_times() else None,
            focal_blur_mm=between(0, 0.5),
            collimation=shutters if at_times() else None,
            scatter=between(0, 0.6),
            scatter_mm=between(10, 50),
            quanta=exp(between(log(300), log(20_000))),
            detector_blur_mm=between(0, 0.5),
            electronic_quanta=between(0, 5),
            gain_variation=between(0, 0.02),
            saturation=between(0.3, 0.9) if at_times() else None,
            display=display,
        )


def focal_blur_mm(focal_spot_mm: float, magnification: float) -> float:
    """Sigma, at the object, of the penumbra of a focal spot whose width at half height is its nominal size.

    Parameters
    ----------
    focal_spot_mm : nominal size
    magnification : source-detector over source-object distance, at least 1
    """
    if not (focal_spot_mm >= 0 and magnification >= 1):
        raise BoneprintError(
            f"focal spot of {focal_spot_mm} mm at magnification {magnification}; expected 0 or more, and at least 1."
        )
    return focal_spot_mm * (1 - 1 / magnification) / (2 * sqrt(2 * log(2)))


def _check(what: str, noun: object, *, from_0: tuple[str, ...] = (), above_0: tuple[str, ...] = ()) -> None:
    for name in (*from_0, *above_0):
        value = getattr(noun, name)
        if value is not None and not (isfinite(value) and (value > 0 or (value == 0 and name in from_0))):
            raise BoneprintError(f"{what}: {name} is {value}, expected {'0 or more' if name in from_0 else 'above 0'}.")
