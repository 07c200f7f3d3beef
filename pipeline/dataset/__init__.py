"""The user's input up to the canvas: annotations, image files and views. Nothing here imports torch."""
