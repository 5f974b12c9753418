"""Every link and picture of a built site leads to a file of it and to an anchor in that: `links.py SITE`."""

import html.parser
import pathlib
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    """The anchors of a page, and where it leads to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.targets += [given[name] for name in ("href", "src") if name in given]


site = pathlib.Path(sys.argv[1]).resolve()
pages = {path: Page(path.read_text()) for path in site.rglob("*.html")}
broken, checked = [], 0
for path, page in pages.items():
    if path.name == "404.html":  # its links begin at the root of the server
        continue
    for target in page.targets:
        parts = urllib.parse.urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        checked += 1
        there = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
        there = there / "index.html" if there.is_dir() else there
        anchor = urllib.parse.unquote(parts.fragment)
        if not there.exists() or (anchor and there in pages and anchor not in pages[there].anchors):
            broken.append(f"{path.relative_to(site)}: {target}")
print(f"{len(pages)} pages, {checked} links, {len(broken)} lead nowhere", *broken, sep="\n")
sys.exit(bool(broken or not checked))
