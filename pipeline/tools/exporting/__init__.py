"""`fdet export`: backbone, neck and head as one file, and the proof that it finds the same."""
