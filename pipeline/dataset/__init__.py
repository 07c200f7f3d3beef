"""What the user gives, up to the canvas: annotations, image files, views. Imports no torch."""
