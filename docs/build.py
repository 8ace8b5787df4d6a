"""Write what is made from code and results: two pages, and the figures of five others. Usage: build.py."""

import json
import re
import textwrap
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import click

from boneprint.cli import main
from boneprint.embed import embedder_id, read_card
from boneprint.evidence import UNSAID, of_card

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MADE = "<!-- Made by docs/build.py; change the code or the weights' card, then `make docs`. -->\n"


def command_line() -> str:
    """Every command with its help, and what the help does not say: exit codes and JSON."""
    parts = [MADE, "# Command line\n", (HERE / "command-line.intro.md").read_text()]
    for name, command in sorted(main.commands.items()):
        context = click.Context(command, info_name=f"boneprint {name}", terminal_width=100, max_content_width=100)
        parts.append(f"## boneprint {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def model_card() -> str:
    """The shipped weights: what they are, how they were made, how well they do, where they end."""
    card = read_card()
    training = card["training"]
    settings = "\n".join(
        f"| {group}.{key} | {value} |" for group in ("recipe", "schedule") for key, value in training[group].items()
    )
    return "\n".join(
        [
            MADE,
            f"# Model card: {card['name']}\n",
            f"`{embedder_id(card)}`, architecture {card['architecture']}, {card['dimension']} numbers a view, licence "
            f"{card['license']}. SHA-256 of the weights: `{card['weights_sha256']}`.\n",
            "## Training\n",
            f"Data: {training['data']}; {training['bodies']} bodies, "
            f"{'kept' if 'radiographs' in training['recipe'] else 'rendered and augmented anew at every use'} "
            f"([how](training.md)). boneprint {training['boneprint']}, torch {training['torch']}, "
            f"{training['machine']}, {training['seconds'] / 60:.0f} minutes, {training['date']}. "
            f"{training.get('note', '')}\n",
            "| setting | value |\n|---|---|",
            settings + "\n",
            *_whitened(training),
            *_learning_curves([*training.get("earlier_courses", []), training]),
            "## Calibration\n",
            calibration(card) + "\n",
            "## Test\n",
            every_figure() + "\n",
            "### Without pixel spacing\n",
            without_spacing() + "\n",
            "### After harm\n",
            after_harm() + "\n",
            (HERE / "model-card.limits.md").read_text(),
        ]
    )


def _learning_curves(courses: Sequence[dict[str, Any]]) -> list[str]:
    """Every course that led to the weights, the first one first: what it cost, and how it went."""
    rows = []
    for number, course in enumerate(courses, 1):
        schedule, exams = course["schedule"], course["examinations"]
        taught = f"{schedule.get('form') or 'both'}{', finder alone' if schedule.get('finder_only') else ''}"
        data = ("radiographs of " if "radiographs" in course["recipe"] else "") + f"{course['bodies']:,} bodies"
        some = sorted({round(at * (len(exams) - 1) / 4) for at in range(5)}) if exams else []
        curve = "; ".join(f"{exams[n][0]:,}: {exams[n][1]:.2f}, {exams[n][2]:.1%}" for n in some)
        rows.append(
            f"| {number} | {course['date']} | {data} | {taught} | {exams[-1][0] if exams else schedule['steps']:,} "
            f"| {course['seconds'] / 60:.0f} | {curve or 'not examined'} |"
        )
    hours = sum(course["seconds"] for course in courses) / 3600
    said = (
        f"Learning curves of the {len(courses)} courses, {hours:.1f} hours of training on one or two cores in all, by "
        "their own clocks, the making of bodies and of kept radiographs not counted: at some of the examinations on "
        "simulated bones kept back, after so many steps, the loss, and the share of pictures whose nearest other one "
        "is of the same bone. Bones, losses and examinations differ from course to course: their figures are "
        "comparable within a course alone. Where the finder alone is taught, fingerprints move little.\n"
    )
    head = "| course | date | of | branch | steps | minutes | steps: loss, rank 1 |"
    return [textwrap.fill(said, 128) + "\n", head, "|---" * 7 + "|", "\n".join(rows) + "\n"]


def _whitened(training: dict[str, Any]) -> list[str]:
    """By what the last layer of each branch was whitened, the last time it was."""
    last: dict[str, dict[str, Any]] = {}
    for course in (*training.get("earlier_courses", []), training):
        last |= dict.fromkeys(course.get("whitening", {}).get("radiographs", {}), course.get("whitening"))
    lines = []
    for form, by in last.items():
        bones = ", ".join(f"{kind} {count}" for kind, count in by["bones"].items())
        lines.append(
            f"The last layer of the branch for {form} canvases was [whitened](training.md#the-last-layer) by "
            f"{by['radiographs'][form]:,} radiographs on such canvases, of {sum(by['bones'].values())} bones "
            f"({bones}): {by['data']}. Shrinkage {by['shrinkage']:g}.\n"
        )
    return lines


def calibration(card: dict[str, Any]) -> str:
    """What weights were calibrated with and for, as a table."""
    every = [(entry.threshold, entry) for by_bone in of_card(card).values() for entry in by_bone.values()]
    rows = [
        f"| {threshold.kind} | {threshold.bone} | {threshold.bones} "
        f"| {', '.join(f'{height:g}' for height in entry.canvas_heights_mm)} | {threshold.value:.4f} "
        f"| {threshold.false_match_rate:.1e} ({_between('.1e', threshold.false_match_interval)}) "
        f"| {threshold.false_non_match_rate:.1%} ({_between('.1%', threshold.false_non_match_interval)}) "
        f"| {'-' if threshold.kind == UNSAID else f'{entry.log10_lr(0):.2f}'} |"
        for threshold, entry in every
    ]
    head = (
        "| comparison | bone | bones | canvases, mm | threshold | false match rate | false non-match rate "
        "| greatest log10 LR |"
    )
    said = (
        f"On {every[0][0].data}. Each kind of bone by itself; what is not in the table, another kind or on another "
        "canvas, is not calibrated ([evidence](evidence.md)). 95 % intervals over bones; where no error was seen, the "
        "upper end is 3 / bones. The greatest ratio is that of distance 0. Of pairs whose kind is not said the "
        "strictest of the thresholds that stand beside these words holds for all, and there is no ratio."
    )
    return "\n".join([said, "", head, "|" + "---|" * 8, *rows])


def _between(form: str, interval: Sequence[float]) -> str:
    return f"{interval[0]:{form}} to {interval[1]:{form}}"


def readme() -> str:
    """README with the figures of the last benchmark between its marks."""
    return _between_marks(ROOT / "README.md", figures())


def rendering() -> str:
    """rendering.md with the figures of benchmarks/drr.py between its marks."""
    return _between_marks(HERE / "rendering.md", speeds())


def _between_marks(page: Path, made: str) -> str:
    marks = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)
    return marks.sub(lambda found: found[1] + made + found[2], page.read_text())


def figures() -> str:
    """What benchmarks/identify.py and carry_over.py found, as two tables."""
    result, again = _result(_BY_FINGERPRINT[0]), _result("identify-femur-37")
    probes = result["probes"]
    voxels = {"coarse": "about 2 mm in a femur", "usual": "0.5 to 2 mm"}[result["voxels"]]
    species = "people" if result["species"] == "human" else f"{result['species']}s"
    said = (
        f"Simulated {species} whom nobody trained or calibrated on, each enrolled from one scan and probed once from "
        f"{probes['scan']}; within {probes['axis_deg']:g} degrees about the axis of AP or ML and "
        f"{probes['plane_deg']:g} in the plane, with {probes['content']}; voxels of {voxels}. Share of bones found at "
        "rank 1 and among the first five, comparisons missed at a false match rate of 0.001, and searches missed where "
        "1 % of those for a bone that is not enrolled would return one; 95 % intervals over bones. AP + ML: two views "
        "fused; AP & ML: likened together, their directions known (`search --angle 0 --angle 90`). ML alone, S1's "
        "joined image, and more that was laid over the radiograph: see the [model card](docs/model-card.md). "
        "Ulnae and heel bones (calcaneus) were shown to no network at all, lower ends of "
        "radii not to the branch that sees them; "
        f"on femora of seed {again['seed']} nothing was ever tried. Commands: "
    )
    names = (*_BY_FINGERPRINT, "identify-femur-37")
    commands = "; ".join(
        [
            *(_command(_result(name), name) for name in names),
            *(_command(_result(name), name, "harm.py --only none neighbours --bones") for name in _BETWEEN),
        ]
    )
    sides, femora = ("AP", "AP + ML", "AP & ML"), again["kinds"]["femur"]
    rows = _identified(sides)
    rows += _found(f"femur, seed {again['seed']}", femora["probed"], femora, again["embedder"], sides)
    rows += _between_neighbours(sides)
    laid = [line for name in _LAID_OVER[:2] for line in (*_laid_over(name, set(), sides), "")]
    carried = [
        *carried_over("carry-over", "fingerprint"),
        *carried_over("carry-over-proximal", "fingerprint"),
        *carried_over("carry-over-proximal-500", "superimposed"),
    ]
    return "\n".join([textwrap.fill(f"{said}{commands}.", 128), "", *_table(rows), "", *laid, *carried])


def every_figure() -> str:
    """All that benchmarks/identify.py found, as tables: by fingerprint, and laid over."""
    again = (
        "Bones, conditions, commands and columns are those of the [README](../README.md). AP | ML: joined, as in S1, "
        "both halves a quarter of a turn apart to the degree."
    )
    return "\n".join([again, "", *_table([*_identified(), *_between_neighbours()]), *_every_figure_laid_over()])


# Results of benchmarks/harm.py: what is not long, as it lies in the living.
_BETWEEN = ("between-vertebra", "between-hip")


def _between_neighbours(wanted: tuple[str, ...] = ()) -> list[str]:
    rows: list[str] = []
    for result in map(_result, _BETWEEN):
        bone, probed, others = re.split("[=+]", result["bones"])
        galleries = {str(int(probed) + int(others)): result["harms"]["neighbours"]}
        found = {"galleries": galleries}
        rows += _found(f"{bone} between its neighbours", int(probed), found, result["embedder"], wanted)
    return rows


# Results of benchmarks/identify.py: of a gallery that is in several, the first.
_BY_FINGERPRINT = (
    "identify-tall",
    "identify-square",
    "identify-unseen",
    "identify-left-out",
    "identify-large",
    "identify-lump",
)


def _identified(wanted: tuple[str, ...] = ()) -> list[str]:
    """By kind of bone and size of gallery, the smallest first, what was found by fingerprint."""
    first: dict[tuple[str, int], list[str]] = {}
    for result in map(_result, _BY_FINGERPRINT):
        for kind, found in result["kinds"].items():
            for size, outcomes in _larger(found["galleries"]).items():
                one = {"galleries": {size: outcomes}}
                first.setdefault((kind, int(size)), _found(kind, found["probed"], one, result["embedder"], wanted))
    kinds = list(dict.fromkeys(kind for kind, _ in first))
    return [row for of in sorted(first, key=lambda of: (kinds.index(of[0]), of[1])) for row in first[of]]


def _larger(galleries: dict[str, Any]) -> dict[str, Any]:
    """Galleries, without that of those alone that are probed, unless there is no other: it is in the JSON."""
    return dict(list(galleries.items())[1:]) or galleries


def _command(result: dict[str, Any], name: str, script: str = "identify.py") -> str:
    """How a result of benchmarks/identify.py, or of another script that takes the same words, was made."""
    return (
        f"`python benchmarks/{script} {result['bones']} --seed {result['seed']} --name {name}`, commit "
        f"{result['circumstances']['commit']}, embedder `{result['embedder']}`"
    )


# Results of benchmarks/identify.py with `@`, the latest first; the README has the first two.
_LAID_OVER = (
    "identify-unseen-superimposed",
    "identify-superimposed-500",
    "identify-superimposed-square",
    "identify-superimposed",
)


def _every_figure_laid_over() -> list[str]:
    """The same of what was laid over: at several times, and perhaps by other weights; of a gallery the last time."""
    lines: list[str] = []
    shown: set[tuple[str, str]] = set()
    for name in _LAID_OVER:
        lines += ["", *_laid_over(name, shown)]
    return lines


def _laid_over(name: str, shown: set[tuple[str, str]], wanted: tuple[str, ...] = ()) -> list[str]:
    """What was laid over, without the kinds and sizes of galleries that were ``shown`` before."""
    laid = _result(name)
    said = (
        f"The first bones found by `{laid['embedder']}` laid over the radiograph (`search --superimpose`) and "
        "ranked by how well their edges agree; those that are not laid over count as no match. Command: "
        f"{_command(laid, name)}."
    )
    rows = []
    for kind, found in laid["kinds"].items():
        gallery = kind, max(found["superimposed"]["galleries"], key=int)
        if gallery not in shown:
            rows += _found(kind, found["probed"], found["superimposed"], laid["embedder"], wanted)
        shown.add(gallery)
    return [textwrap.fill(said, 128), "", *_table(rows)]


def _result(name: str) -> dict[str, Any]:
    return dict(json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text()))


def _table(rows: list[str]) -> list[str]:
    head = (
        "| bone | probed of enrolled | weights | probe | rank 1 | rank 5 or better | FNMR at FMR 0.001 "
        "| FNIR at FPIR 1 % |"
    )
    return [head, "|---" * 8 + "|", *rows]


def _found(kind: str, probed: int, outcomes: dict[str, Any], embedder: str, wanted: tuple[str, ...] = ()) -> list[str]:
    rows = []
    for size, sides in _larger(outcomes["galleries"]).items():
        for side, each in sides.items():
            if wanted and side not in wanted:
                continue
            cells = [_share(each["ranks"][rank]["share"], each["ranks"][rank]["interval"]) for rank in ("1", "5")]
            missed = each["fnmr_at_fmr"]["0.001"].get("fnmr")
            cells.append(_share(missed["value"], missed["interval"]) if missed else "too few bones")
            fnir = each["fnir_at_fpir"]["0.01"]
            cells.append("too few bones" if fnir["missed"] is None else _share(fnir["missed"], fnir["interval"]))
            about = f"{kind} | {probed} of {int(size):,} | {embedder.partition(':')[0]} | {_cell(side)}"
            rows.append(f"| {about} | " + " | ".join(cells) + " |")
    return rows


# Results of benchmarks/harm.py, and in words what happened to a bone.
_AFTER_HARM = (
    "harm-compact-9",
    "harm-compact-10",
    "harm",
    "harm-hip-compact-10",
    "harm-hip",
    "harm-vertebra-compact-10",
    "harm-vertebra",
)
_HAPPENED = {
    "none": "nothing",
    "lower-end": "lowest 15 % are missing",
    "upper-end": "uppermost 15 % are missing",
    "fractured": "broken once",
    "nail": "given a nail",
    "stem": "given the stem and ball of an artificial joint",
    "plate": "given a plate with screws",
    "screws": "given screws",
    "eroded": "eroded by up to 2.5 mm",
    "neighbours": "nothing, but its neighbours are in the picture",
}


def after_harm() -> str:
    """What benchmarks/harm.py found, as a table: rank 1 by AP + ML."""
    results = {name: _result(name) for name in _AFTER_HARM}
    titles = []
    for result in results.values():
        bone, probed, others = re.split("[=+]", result["bones"])
        weights = result["embedder"].partition(":")[0]
        titles.append(f"{bone}, {probed} of {int(probed) + int(others)}, `{weights}`")
    rows = ["| since its CT | " + " | ".join(titles) + " |", "|---" * (1 + len(titles)) + "|"]
    for harm, words in _HAPPENED.items():
        cells = []
        for result in results.values():
            first = result["harms"].get(harm, {}).get("AP + ML", {}).get("ranks", {}).get("1")
            cells.append("-" if first is None else f"{first['share']:.0%} ({_between('.0%', first['interval'])})")
        rows.append(f"| {words} | " + " | ".join(cells) + " |")
    commands = "; ".join(_command(result, name, "harm.py --bones") for name, result in results.items())
    said = (
        "Bones of the cohorts above, enrolled as they were, and probed after something happened: share that came first "
        "by AP + ML, and its 95 % interval over bones; the other ways are in the JSON. Where it says - such an implant "
        "does not fit the bone, or it was not tried. Neighbours are whole, and end at the skin, in the columns of "
        "`compact-12` and later; in the others they went on as they were where the model of the bone ended. Commands "
        f"(older weights by `--weights`): {commands}."
    )
    return "\n".join([textwrap.fill(said, 128), "", *rows])


def without_spacing() -> str:
    """What benchmarks/unknown_spacing.py found, as a table."""
    result = _result("unknown-spacing")
    rows = []
    for bones, (kind, sides) in zip(result["bones"].split(), result["kinds"].items()):
        probed, others = re.split("[=+]", bones)[1:]
        for side in ("AP", "ML"):
            found = sides[side]
            ranks = [
                _share(found[spacing][rank]["value"], found[spacing][rank]["interval"])
                for spacing, rank in product(("known", "unknown"), ("rank_1", "rank_5"))
            ]
            error = f"{found['own_size_median_error']:.1%}"
            rows.append(
                f"| {kind} | {probed} of {int(probed) + int(others):,} | {side} | {' | '.join(ranks)} | {error} |"
            )
    said = (
        "The same radiographs once as they are and once without their spacing, at every size that a bone of the "
        f"gallery may have, {result['step'] - 1:.0%} apart (`search --any-scale`); how far the size at which the true "
        "bone came nearest was from its own, at the median. One radiograph each. Command: "
        f"{_command(result, 'unknown-spacing', 'unknown_spacing.py')}."
    )
    head = (
        "| bone | probed of enrolled | probe | rank 1, spacing known | rank 5 or better | rank 1, unknown "
        "| rank 5 or better | size off by |"
    )
    return "\n".join([textwrap.fill(said, 128), "", head, "|---" * 8 + "|", *rows])


def carried_over(name: str, by: str) -> list[str]:
    """What benchmarks/carry_over.py found, as a table: by fingerprint, or superimposed."""
    result = _result(name)
    rows = []
    laid = f" --superimpose {result['superimposed']}" if result["superimposed"] else ""
    names = {"fingerprint": "fingerprint", "superimposed": f"first {result['superimposed']} laid over"}
    for group, sides in ((group, ways[by]) for group, ways in result["groups"].items()):
        of_group = [each for each in result["surfaces"] if each["group"] == group]
        for side, each in sides.items():
            first = each["own_side_first"]
            cells = [
                f"{len({e['surface'] for e in of_group})} x {result['interiors']}",
                _cell(side),
                names[by],
                _share(each["rank_1"]["value"], each["rank_1"]["interval"]),
                f"{each['rank_3']['value']:.1%}",
                "-" if first is None else f"{first:.1%}",
            ]
            rows.append(f"| {group} | " + " | ".join(cells) + " |")
    said = (
        "Surfaces of real bones, which nobody trained on ([what was decided by them](docs/model-card.md#limits)), each "
        f"filled with {result['interiors']} simulated insides, "
        f"scanned twice and probed as above, among {result['among']} simulated bones of its kind; 95 % intervals over "
        "surfaces. Own side first: where left and right of one person are enrolled, how often the right one of the two "
        "came first. "
        f"Command: `python benchmarks/carry_over.py --among {result['among']} --interiors {result['interiors']}{laid} "
        f"--surfaces {' '.join(group.split()[0] for group in result['groups'])} --name {name}`; seed {result['seed']}, "
        f"commit {result['circumstances']['commit']}, embedder `{result['embedder']}`."
    )
    head = "| real bone | surfaces x insides | probe | by | rank 1 | rank 3 or better | own side first |"
    return [textwrap.fill(said, 128), "", head, "|---" * 7 + "|", *rows, ""]


def _cell(text: str) -> str:
    """Text within a table of Markdown."""
    return text.replace("|", "\\|")


def _share(value: float, interval: list[float]) -> str:
    return f"{value:.1%} ({interval[0]:.1%} to {interval[1]:.1%})"


def speeds() -> str:
    """What benchmarks/drr.py found, as a table."""
    result = json.loads((ROOT / "benchmarks" / "results" / "drr.json").read_text())
    about, slow, sets = result["circumstances"], result["plastimatch_s1"], result["s1"]
    said = (
        f"One view of 400 x 800 pixels, {result['threads']} threads of {about['processor']}, seed {result['seed']}, "
        f"commit {about['commit']}; error is relative L2 against Siddon, the worst view. S1's 900 images of W1 take "
        f"{sets['W1']['wall_s']:.2f} s with preparation, of W3 {sets['W3']['wall_s']:.2f} s; as 1,800 separate images "
        f"plastimatch would render for {slow['set_s']:.0f} s and, as a command for each, take "
        f"{slow['set_as_commands_s']:.0f} s (extrapolated from {slow['images']}): "
        f"{slow['set_s'] / sets['W1']['wall_s']:.0f} and {slow['set_as_commands_s'] / sets['W1']['wall_s']:.0f} times "
        "as long. GPU: "
        f"{result['gpu'].get('reason') or result['gpu']}."
    )
    rows = ["| workload | engine | wall s | CPU s | error |", "|---|---|---|---|---|"]
    for workload, engines in result["workloads"].items():
        for engine, each in engines.items():
            figures = each.get("reason") or f"{each['wall_s']:.3f} | {each['cpu_s']:.3f} | {max(each['errors']):.4%}"
            rows.append(f"| {workload} | {engine} | {figures} |")
    return "\n".join([textwrap.fill(said, 128), "", *rows, ""])


def searching() -> str:
    """search.md with the figures of benchmarks/index.py between its marks."""
    return _between_marks(HERE / "search.md", searches())


def searches() -> str:
    """What benchmarks/index.py found, as a table, and the bars that it misses."""
    result = _result("index")
    about = result["circumstances"]
    said = (
        f"{about['processor']}, commit {about['commit']}, `make bench-index`. For each engine median / 99 % quantile, "
        "ms; in brackets where it does not find enough, with the share of the ten nearest that it does find."
    )
    engines = list(dict.fromkeys(name for parts in result["data"].values() for name in parts if name != "about"))
    rows = ["| data | bones x views | " + " | ".join(engines) + " |", "|---" * (2 + len(engines)) + "|"]
    for data, parts in result["data"].items():
        cells = [_searched(parts[name]) if name in parts else "not run" for name in engines]
        rows.append(f"| {data} | {parts['about']['bones']:,} x {parts['about']['views']} | " + " | ".join(cells) + " |")
    missed = [f"- {each['bar']}: {each['found']}" for each in result["bars"] if not each["pass"]]
    return "\n".join([textwrap.fill(said, 128), "", *rows, "", "Bars that are missed:", "", *(missed or ["none"]), ""])


def _searched(part: dict[str, Any]) -> str:
    found = f"{part['p50_ms']:.2f} / {part['p99_ms']:.2f}"
    return found if part["top10"] >= 0.99 and part["top1"] >= 0.999 else f"({found}; {part['top10']:.3f})"


def shape() -> str:
    """shape.md with the figures of benchmarks/s1_shape.py between its marks."""
    return _between_marks(HERE / "shape.md", shapes())


def shapes() -> str:
    """What benchmarks/s1_shape.py found, as a table: means of all probes."""
    head = (
        "| probes, gallery | nearest by fingerprint (S1) | better | nearest by fit | better | model | best in gallery |"
    )
    rows, embedders = [], []
    for name in ("cat", "human", "real"):
        result = _result(f"s1_shape_{name}")
        embedders.append(result["embedder"])
        for gallery, found in result["outcome"].items():
            sets = (
                [(gallery, found)]
                if "mean" in found
                else [(f"{gallery}, {model}", each) for model, each in found.items() if isinstance(each, dict)]
            )
            rows += [_estimated(title, each["mean"]) for title, each in sets]
    said = f"Means in mm (relative to the diagonal); fingerprints of {', '.join(dict.fromkeys(embedders))}."
    return "\n".join([said, "", head, "|---" * 7 + "|", *rows, ""])


def _estimated(title: str, mean: dict[str, Any]) -> str:
    nearest, fit, model, best = (
        f"{mean[way]['rms_mm']:.2f} ({mean[way]['rms_relative']:.4f})"
        for way in ("nearest", "nearest_by_ssm", "ssm", "oracle")
    )
    better = [f"{mean[f'better_than_{way}']:.1f}" for way in ("nearest", "nearest_by_ssm")]
    return f"| {title} | {nearest} | {better[0]} | {fit} | {better[1]} | {model} | {best} |"


def s1_identity() -> str:
    """s1-identity.md with the tables of benchmarks/s1_identity.py between its marks."""
    return _between_marks(HERE / "s1-identity.md", s1_tables())


def s1_tables() -> str:
    """What benchmarks/s1_identity.py found: pairs by stratum, and identity; as far as it has been run."""
    known = [ROOT / "benchmarks" / "results" / f"s1-identity{setting}.json" for setting in ("", "-medium")]
    file = next((path for path in known if path.exists()), None)
    if file is None:
        return "Not measured yet.\n"
    result = json.loads(file.read_text())
    about, published = result["circumstances"], result["published_by_s1"]["pairs_5_held_out_percent"]
    pairs = [f"| network | bones | threshold | {' | '.join(published)} |", "|---" * (3 + len(published)) + "|"]
    pairs.append(f"| S1 as published | 5 held out | margin, chosen afterwards | {' | '.join(published.values())} |")
    who = [
        "| network | triplets kept apart | kNN | SVM | one image | softmax | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, cell in result["cells"].items():
        spent = f"{cell['training_seconds']:.0f} s" if "training_seconds" in cell else ""
        if "accuracy" in cell:
            who.append(f"| {name} | | | | | {cell['accuracy']:.2%} | {spent} |")
            continue
        shares = [
            " / ".join(f"{each[how]:.2%}" for each in cell["identity"].values())
            for how in ("knn", "svm", "one_picture")
        ]
        triplets = " / ".join(f"{each:.2%}" for each in cell["triplet_accuracy"].values())
        who.append(f"| {name} | {triplets} | {' | '.join(shares)} | | {spent} |")
        for bones, strata in cell["pairs"].items():
            counted = {"accuracy": bones}
            if "unseen" in bones:
                counted = {"balanced_accuracy": f"{bones}, mean", "accuracy": f"{bones}, all pairs"}
            for kind, threshold in product(counted, cell["thresholds"]):
                each = [strata[stratum][threshold] for stratum in published]
                cells = [f"{100 * found[kind]:.2f}" for found in each]
                low, high = each[-1][f"{kind}_interval"]
                cells[-1] += f" ({100 * low:.1f} to {100 * high:.1f})"
                pairs.append(f"| {name} | {counted[kind]} | {threshold} | {' | '.join(cells)} |")
    devices = sorted({cell["device"] for cell in result["cells"].values()})
    ours = sorted({f"`{cell['embedder']}`" for cell in result["cells"].values() if cell["embedder"]})
    commits = sorted({cell["commit"] for cell in result["cells"].values()})
    said = (
        f"Setting {result['setting']['name']}, seed {result['setting']['seed']}, commit {', '.join(commits)}, "
        f"{', '.join(devices)}, {about['date'][:10]}, boneprint's network {', '.join(ours)}. "
        "Pairwise accuracy in per cent over all pairs, as S1 counts; of unseen bones also the mean over pairs of one "
        "bone and of two. The interval of the last column is over bones."
    )
    identity = (
        "Triplets kept apart by the margin: training bones / held out. Images named rightly: all 29 bones / the 5 held "
        "out; the softmax knows the 29. S1: 99.9 % of triplets, kNN and SVM 100 %, softmax 63 to 100 %; d = 16 costs "
        "1 %, margin 1.0 9.6 %, AP alone 2.0 %, ResNet-50 0.8 %."
    )
    wrapped = [textwrap.fill(each, 128) for each in (said, identity)]
    return "\n".join(["## Figures\n", wrapped[0], "", *pairs, "", wrapped[1], "", *who, ""])


PAGES = {
    HERE / "command-line.md": command_line,
    HERE / "model-card.md": model_card,
    HERE / "rendering.md": rendering,
    HERE / "s1-identity.md": s1_identity,
    HERE / "search.md": searching,
    HERE / "shape.md": shape,
    ROOT / "README.md": readme,
}


def stale() -> list[str]:
    """The made pages that differ from what code and results say."""
    return [path.name for path, page in PAGES.items() if not path.exists() or path.read_text() != page()]


if __name__ == "__main__":
    for path, page in PAGES.items():
        path.write_text(page())
