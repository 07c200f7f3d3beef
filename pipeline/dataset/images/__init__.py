"""Image files: their names, sizes and pixels, views, and the canvases that are cut from them."""
