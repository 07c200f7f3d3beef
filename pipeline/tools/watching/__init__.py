"""`fdet watch`: a page on runs while they train, a file that is written again every few seconds."""
