"""Hold the documentation to the truth: made pages are current, links lead somewhere, commands and targets exist."""

import re
import sys
from pathlib import Path

import build

from boneprint.cli import main

ROOT = Path(__file__).resolve().parents[1]


def problems() -> list[str]:
    """Every broken promise of the documentation, one line each."""
    found = [f"docs/{name} is out of date: run `make docs`" for name in build.stale()]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text()
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if "://" not in link and not (page.parent / link).exists():
                found.append(f"{page.name}: link to {link}, which does not exist")
        for command in re.findall(r"boneprint ([a-z]+)\b(?=[^\n]*)", "\n".join(_code(text))):
            if command not in main.commands:
                found.append(f"{page.name}: `boneprint {command}` is no command")
        for target in re.findall(r"`make ([a-z-]+)`", text):
            if target not in targets:
                found.append(f"{page.name}: `make {target}` is no target")
    return found


def _code(text: str) -> list[str]:
    """Commands of a page: shell lines in fenced blocks, and code in running text."""
    blocks = re.findall(r"```(?:sh|shell|bash)\n(.*?)```", text, re.DOTALL)
    return blocks + re.findall(r"`(boneprint [^`]+)`", text)


if __name__ == "__main__":
    broken = problems()
    print("\n".join(broken) or "documentation: in order")
    sys.exit(bool(broken))
