"""Detectors in files of other runtimes, made by `fdet export`: what they are, and what they find."""
