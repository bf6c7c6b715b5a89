"""What MkDocs asks of us while it builds (mkdocs.yml, `hooks`): pages made from the code, and pages as it wants them.

The pages of docs/ are written for a forge, too: what is otherwise there is changed on the way, never in the files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from handbook import commands, keys, lists
from loadlab.planning.decision import Question
from loadlab.planning.hosting import Hosting
from loadlab.planning.prices import PriceBook
from loadlab.planning.routing import Tiers
from loadlab.scenario.files import _CampaignFile
from loadlab.scenario.model import Scenario
from loadlab.server.gateway_spec import GatewaySpec
from loadlab.simulator.spec import ClusterSpec

TOP = Path(__file__).parents[1]
OUTSIDE = "files"  # where files of the repository stand in the site that docs/ links to
_TOLD = "What it means, with examples: [{}](../{}.md)."
_LINK = re.compile(r"(\]\()(?!https?://|#|mailto:)([^)\s]+)(\))")
_FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"(<pre.*?</pre>)", re.DOTALL)
_CODE = re.compile(r"<code>.*?</code>", re.DOTALL)
_FLAG = re.compile(r"(?<![\w-])--?[a-z][\w-]*")
_LIST = re.compile(r"^(?! *[-*] | *\d+\. |\s*$|#|\|)(.+)\n(?=(?:[-*]|\d+\.) )", re.MULTILINE)


def reference() -> dict[str, str]:
    """The pages that are made from the code, by their path."""
    formats = (
        ("scenario", "Keys of a scenario", "scenario-format", Scenario),
        ("campaign", "Keys of a campaign", "scenario-format", _CampaignFile),
        ("cluster", "Keys of a cluster", "cluster-format", ClusterSpec),
        ("gateway", "Keys of a gateway", "serving", GatewaySpec),
        ("hosting", "Keys of a hosting case", "break-even", Hosting),
        ("prices", "Keys of a price book", "break-even", PriceBook),
        ("tiers", "Keys of a routed mix", "break-even", Tiers),
        ("decision", "Keys of a hosting question", "break-even", Question),
    )
    pages = {
        f"reference/{name}.md": keys.page(title, _TOLD.format(told, told), f"loadlab/{name}/1", root) for name, title, told, root in formats
    }
    return pages | {
        "reference/commands.md": commands.page(),
        "reference/metrics.md": lists.metrics(),
        "reference/formats.md": lists.formats(),
    }


def on_config(config: Any) -> Any:
    """A page that the navigation does not name stands among the how-tos, so that none is lost."""
    named = set(re.findall(r"[\w./-]+\.md", repr(config.nav)))
    how_to = next(part["How to"] for part in config.nav if "How to" in part)
    how_to += [path.name for path in sorted((TOP / "docs").glob("*.md")) if path.name not in named]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds what is generated, the README as the first page, and what the pages link to outside of docs/."""
    pages = reference() | {"index.md": (TOP / "README.md").read_text("utf-8"), "changes.md": (TOP / "CHANGELOG.md").read_text("utf-8")}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    for path in sorted({target for page in files.documentation_pages() for target in _outside(page)}):
        files.append(File.generated(config, f"{OUTSIDE}/{path.relative_to(TOP)}", abs_src_path=str(path)))
    return files


def _outside(page: File) -> set[Path]:
    """Files of the repository that a page links to and docs/ does not hold; of a folder those that are seen in a browser."""
    home = TOP if page.src_uri in ("index.md", "changes.md") else (TOP / "docs" / page.src_uri).parent
    found = set()
    for _, link, _ in _LINK.findall(page.content_string):
        target = (home / link.partition("#")[0]).resolve()
        if target.is_relative_to(TOP / "docs") or not target.is_relative_to(TOP) or not target.exists():
            continue
        if target.is_file() and target.name != "CHANGELOG.md":
            found.add(target)
        found |= {target / "report.html"} if (target / "report.html").exists() else set()
    return found


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as they are in the site, and a blank line before each list, which MkDocs needs and a forge does not."""
    home = TOP if page.file.src_uri in ("index.md", "changes.md") else (TOP / "docs" / page.file.src_uri).parent
    up = "../" * page.file.src_uri.count("/")
    parts = _FENCE.split(markdown)
    for i in range(0, len(parts), 2):
        parts[i] = _LIST.sub(r"\1\n\n", _LINK.sub(lambda link: f"{link[1]}{_moved(link[2], home, up)}{link[3]}", parts[i]))
    return "".join(parts)


def on_page_content(html: str, **_: Any) -> str:
    """A flag in inline code is one word: a browser would end a line after its dashes."""
    parts = _BLOCK.split(html)
    for i in range(0, len(parts), 2):
        parts[i] = _CODE.sub(lambda code: _FLAG.sub(r'<span class="flag">\g<0></span>', code[0]), parts[i])
    return "".join(parts)


def _moved(link: str, home: Path, up: str) -> str:
    path, mark, anchor = link.partition("#")
    target = (home / path).resolve()
    if not path or not target.is_relative_to(TOP):
        return link
    if target.is_relative_to(TOP / "docs"):
        inside = target.relative_to(TOP / "docs")
        page = inside / "README.md" if target.is_dir() else inside
        return f"{up}{page}{mark}{anchor}"
    if target == TOP / "CHANGELOG.md":
        return f"{up}changes.md"
    shown = target / "report.html" if (target / "report.html").exists() else target
    return f"{up}{OUTSIDE}/{shown.relative_to(TOP)}"
