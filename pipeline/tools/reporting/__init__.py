"""`fdet report`: what runs have in common, where they differ, and what effect that had."""
