"""The command line of `fdet browse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ...command import AnnotationsInstead, Format, Split, cache_argument, echo, opt, takes
from ...dataset.data_name import named


@takes
def browse_command(
    cache: Annotated[Path, cache_argument("a finished cache")],
    images: Annotated[Path | None, opt("folder of the image files, to show them too")] = None,
    annotations: AnnotationsInstead = None,
    format: Format = None,
    split: Split = None,
    port: Annotated[int, opt("port of 127.0.0.1; 0: any free one", min=0, max=65535)] = 0,
    open_browser: Annotated[bool, opt("open the page in the browser too", "--open")] = False,
) -> None:
    """Look at a cache in the browser: images and boxes under each view, maps, histograms, sizes."""
    import webbrowser

    from .checks import check_browsing

    data = named(annotations, format, split)
    check_browsing(cache, images, data)
    from .collection import open_collection
    from .server import BrowsingServer

    with BrowsingServer(open_collection(cache, images, data), port) as server:
        echo(f"{server.address}\nonly this machine can open it; Ctrl-C ends it")
        if open_browser:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            echo("")
