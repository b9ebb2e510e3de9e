"""Sphinx configuration. The build needs no network and treats warnings as errors (see the Makefile)."""

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import metadata
from pathlib import Path

from sphinx.addnodes import toctree

# Sphinx 9: raised for each docstring by sphinx-autodoc-typehints 3.6, which calls a method that Sphinx 10 removes.
warnings.filterwarnings("ignore", module="sphinx_autodoc_typehints", category=DeprecationWarning)

HERE = Path(__file__).parent
GENERATED = HERE / "generated"

info = metadata("heldout")
project = info["Name"]
author = "heldout developers"
copyright = f"2026, {author}"
version = release = info["Version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build", "generated/.ipynb_checkpoints", "**.ipynb_checkpoints"]
suppress_warnings = [
    # Imports under `if TYPE_CHECKING:` need not be importable without optional packages.
    "sphinx_autodoc_typehints.forward_reference",
    "sphinx_autodoc_typehints.guarded_import",
]

# run_notebooks.py runs the notebooks before they are read here.
nb_execution_mode = "off"
nb_merge_streams = True
nb_output_stderr = "remove"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

templates_path = ["_templates"]
# The pages in api/ list the public functions by hand; a page for each is generated.
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "exclude-members": "get_metadata_routing, set_split_request",  # made by scikit-learn, with its own references
}
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = False
typehints_defaults = "braces"
always_use_bars_union = True

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

html_theme = "furo"
html_extra_path = ["llms.txt"]
html_title = f"{project} {version}"
html_theme_options = {
    "source_repository": "https://github.com/heldout/heldout/",
    "source_branch": "main",
    "source_directory": "docs/",
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def draw_gallery() -> None:
    """Draw the pictures of the gallery. ``make docs`` removes old ones first."""
    if not (folder := GENERATED / "gallery").exists():
        subprocess.run([sys.executable, str(HERE / "draw_gallery.py"), str(folder)], check=True)


def write_tutorials() -> None:
    """Run the notebooks, and put the results next to the pages, because Sphinx reads no folder above its own."""
    folder = GENERATED / "tutorials"
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(HERE / "run_notebooks.py")], check=True, stdout=subprocess.PIPE, text=True
    )
    for result in map(Path, done.stdout.splitlines()):
        name = result.stem.rpartition("-")[0]
        (folder / f"{name}.ipynb").write_text(result.read_text().replace("](../docs/", "](../../"))


def write_reference() -> None:
    """Write the pages that come from the package: slots and kinds of arrays."""
    subprocess.run([sys.executable, str(HERE / "write_reference.py"), str(GENERATED)], check=True)


def make_pages(app) -> None:
    """Make what the pages show: notebooks first, two at a time, then pictures and generated pages side by side."""
    write_tutorials()
    with ThreadPoolExecutor(2) as pool:
        for made in [pool.submit(draw_gallery), pool.submit(write_reference)]:
            made.result()


def leave_out_of_the_sidebar(app, doctree):
    """Drop the 230 pages of the API from the navigation: each page would repeat them, a third of the build's time."""
    if app.env.docname.startswith("api/"):
        for node in list(doctree.findall(toctree)):
            node.parent.remove(node)


def setup(app):
    """Make what the pages show before they are read."""
    app.connect("doctree-read", leave_out_of_the_sidebar, priority=1)
    app.connect("builder-inited", make_pages)
