"""Write the pages that are made from the code: command-line.md and model-card.md. Usage: build.py [--check]."""

import sys
from pathlib import Path

import click

from boneprint.cli import main
from boneprint.embed import embedder_id, read_card

HERE = Path(__file__).parent
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
            f"{training['machine']}, {training['date']}. Reproduce it with "
            "`boneprint train -o compact-1 --cache FOLDER`.\n",
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


PAGES = {"command-line.md": command_line, "model-card.md": model_card}


def write() -> None:
    """Write every made page."""
    for name, page in PAGES.items():
        (HERE / name).write_text(page())


def stale() -> list[str]:
    """The made pages that differ from what the code says."""
    return [name for name, page in PAGES.items() if (HERE / name).read_text() != page()]


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(f"docs: out of date, run `make docs`: {', '.join(stale())}" if stale() else 0)
    write()
