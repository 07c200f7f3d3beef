"""What the site needs beyond Sphinx: pages that are generated from the code, and links out of docs/."""
