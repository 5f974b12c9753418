"""The gallery: pages made of the notebooks as they were run, when the site is built.

MkDocs calls `on_files`; a page takes text and code from `notebooks/NAME.ipynb`, and its pictures go beside it.
"""

import base64
import json
import pathlib
from collections.abc import Iterator
from typing import Any

NOTEBOOKS = pathlib.Path(__file__).parents[1] / "notebooks"


def names() -> list[str]:
    """The notebooks, each a page of the gallery."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def page(name: str) -> tuple[str, dict[str, bytes]]:
    """The text of a page, and its pictures by their file names."""
    pictures: dict[str, bytes] = {}
    parts = []
    for cell in json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            told = output.get("data", {})
            if "image/png" in told:
                file = f"{name}-{len(pictures)}.png"
                pictures[file] = base64.b64decode("".join(told["image/png"]))
                parts.append(f"![what the code above draws]({file})")
            elif text := "".join(output.get("text", told.get("text/plain", ""))).rstrip():
                parts.append(f"```text\n{text}\n```")
    parts.append(f"The notebook: `notebooks/{name}.ipynb`.")
    return "\n\n".join(parts) + "\n", pictures


def contents() -> Iterator[tuple[str, str | bytes]]:
    """Every file of the gallery."""
    for name in names():
        text, pictures = page(name)
        yield f"gallery/{name}.md", text
        for file, picture in pictures.items():
            yield f"gallery/{file}", picture


def on_files(files: Any, config: Any, **kwargs: Any) -> Any:
    """The files of the site, those of the gallery among them."""
    from mkdocs.structure.files import File  # noqa: PLC0415 (only there when the site is built)

    for place, content in contents():
        files.append(File.generated(config, place, content=content))
    return files
