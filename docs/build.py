"""Write what is made from code and results: two pages, and the figures in README and rendering.md. Usage: build.py."""

import json
import re
import textwrap
from pathlib import Path

import click

from boneprint.cli import main
from boneprint.embed import embedder_id, read_card

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
    rows = []
    for kind, entry in card["calibration"].items():
        threshold = entry["threshold"]
        low, high = threshold["false_match_interval"]
        missed_low, missed_high = threshold["false_non_match_interval"]
        bound = entry["log10_lr_bounds"][1]
        rows.append(
            f"| {kind} | {threshold['value']:.4f} | {threshold['false_match_rate']:.2e} ({low:.1e} to {high:.1e}) "
            f"| {threshold['false_non_match_rate']:.1%} ({missed_low:.1%} to {missed_high:.1%}) | {bound:.2f} |"
        )
    any_threshold = next(iter(card["calibration"].values()))["threshold"]
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
            f"Data: {training['data']}; {training['bodies']} bodies, 24 directions each, augmented anew at every use "
            f"(`boneprint/embed/augment.py`). boneprint {training['boneprint']}, torch {training['torch']}, "
            f"{training['machine']}, {training['date']}. Train it again with "
            f"`boneprint train -o compact-1 --cache FOLDER`. {training.get('note', '')}\n",
            "| setting | value |\n|---|---|",
            settings + "\n",
            "## Calibration\n",
            f"On {any_threshold['data']}. 95 % intervals over bones; where no error was seen, "
            "the upper end is 3 / bones.\n",
            "| comparison | threshold | false match rate | false non-match rate | greatest log10 LR |",
            "|---|---|---|---|---|",
            "\n".join(rows) + "\n",
            (HERE / "model-card.limits.md").read_text(),
        ]
    )


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
    """What benchmarks/identify.py found, as a table."""
    result = json.loads((ROOT / "benchmarks" / "results" / "identify.json").read_text())
    gallery, probes = result["gallery"], result["probes"]
    rows = []
    for name, each in result["outcome"].items():
        cells = []
        for rank in ("1", "5"):
            low, high = each["ranks"][rank]["interval"]
            cells.append(f"{each['ranks'][rank]['share']:.1%} ({low:.1%} to {high:.1%})")
        rows.append(f"| {name} | {cells[0]} | {cells[1]} |")
    said = (
        f"{gallery['bones']} simulated {gallery['species']} femora that nobody trained or calibrated on, "
        f"enrolled from their DICOM. Each is probed once, within {probes['axis_deg']:g} degrees about the axis of "
        f"AP or ML and {probes['plane_deg']:g} in the plane, with {probes['content']}. Share of bones found at rank 1 "
        "and among the first five, with 95 % intervals over bones. Command: `make bench`; embedder "
        f"`{result['embedder']}`. Simulated bones are easier than real ones: see the "
        "[model card](docs/model-card.md)."
    )
    head = ["| probe | rank 1 | rank 5 or better |", "|---|---|---|"]
    return "\n".join([textwrap.fill(said, 128), "", *head, *rows, ""])


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


PAGES = {
    HERE / "command-line.md": command_line,
    HERE / "model-card.md": model_card,
    HERE / "rendering.md": rendering,
    ROOT / "README.md": readme,
}


def stale() -> list[str]:
    """The made pages that differ from what code and results say."""
    return [path.name for path, page in PAGES.items() if not path.exists() or path.read_text() != page()]


if __name__ == "__main__":
    for path, page in PAGES.items():
        path.write_text(page())
