"""`fdet predict`: backbone, neck and head applied to image files."""
