"""Hold the documentation to the truth: made pages are current, links lead somewhere, commands and targets exist."""

import re
import sys
from pathlib import Path

import build

from boneprint.cli import main

ROOT = Path(__file__).resolve().parents[1]


def problems() -> list[str]:
    """Every broken promise of the documentation, one line each."""
    found = [f"{name} is out of date: run `make docs`" for name in build.stale()]
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text()
        links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
        commands = re.findall(r"boneprint ([a-z]+)\b", "\n".join(_code(text)))
        lost = [link for link in links if "://" not in link and not (page.parent / link).exists()]
        found += [f"{page.name}: link to {link}, which does not exist" for link in lost]
        found += [f"{page.name}: `boneprint {c}` is no command" for c in commands if c not in main.commands]
        asked = re.findall(r"`make ([a-z0-9-]+)`", text)
        found += [f"{page.name}: `make {target}` is no target" for target in asked if target not in targets]
    return found


def _code(text: str) -> list[str]:
    """Commands of a page: shell lines in fenced blocks, and code in running text."""
    blocks = re.findall(r"```(?:sh|shell|bash)\n(.*?)```", text, re.DOTALL)
    return blocks + re.findall(r"`(boneprint [^`]+)`", text)


if __name__ == "__main__":
    broken = problems()
    print("\n".join(broken) or "documentation: in order")
    sys.exit(bool(broken))
