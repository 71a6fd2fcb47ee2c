"""Put the measured figures into the READMEs, between ``<!-- figures: name -->`` and ``<!-- /figures -->``.

Every figure stands in ``pic/figures``, in a file that a command of this repository wrote; those of the source, in
``source.json``, were measured once with its own code.

Reads   pic/figures/*.json
Writes  RESULTS.md, and README.md and README.zh-CN.md of the root and of each room
Run     make readme        (python -m research.figures.readme --check: only say whether they are up to date)
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from research.figures import costs, recommendations
from research.figures.tables import drawn

ROOT: Final = Path(__file__).resolve().parents[2]
DRAWN_BY: Final = (costs, recommendations)  # importing them registers their blocks
_BLOCK: Final = re.compile(r"(?P<open><!-- figures: (?P<name>\w+) -->\n).*?(?P<close><!-- /figures -->)", re.DOTALL)
# The sentences of the Chinese page's blocks; tables are in RESULTS.md, in English.
_CHINESE: Final = (
    (r"(\d+) seconds on an empty machine \(", r"空机器上 \1 秒（"),
    (r"\), (\d+) when it runs again\. ", r"），再次运行 \1 秒"),
    (r"Of what a user likes .*? films hold ", "用户在留出的最后十个评分里喜欢的电影，200 部的列表含有 "),
    (r"; for the (\d+) users who come back after an hour or more ", r"；对隔一小时以上回来的 \1 位用户 "),
    (r" \(the default recipe\)", "（default 配方）"),
    (r" \(EASE\)", "（EASE）"),
    (r" \(the most liked films\)", "（热门榜）"),
    (r"\. Measured by |Measured by ", "。测量命令："),
    (r"` on ", "`，机器："),
    ("cores", "核"),
    ("; data: ", "；数据："),
)


def rendered(text: str, *, chinese: bool = False) -> str:
    """Fill every block of a page from its file."""

    def fill(found: re.Match[str]) -> str:
        shown = drawn(found["name"])
        if chinese and not shown.startswith("```"):
            for english, word in _CHINESE:
                shown = re.sub(english, word, shown)
        return f"{found['open']}{shown}\n{found['close']}"

    return _BLOCK.sub(fill, text)


def pages() -> list[Path]:
    """RESULTS.md and every README that git knows."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "README*.md", "**/README*.md"]
    tracked = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return [path for name in (*tracked, "RESULTS.md") if (path := ROOT / name).is_file()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is out of date")
    check = parser.parse_args().check
    for path in pages():
        old = path.read_text(encoding="utf-8")
        new = rendered(old, chinese=path.name.endswith(".zh-CN.md"))
        if check and new != old:
            sys.exit(f"{path.relative_to(ROOT)} does not show the figures of pic/figures: run make readme")
        if not check:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
