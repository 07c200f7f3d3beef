"""Necks and heads in pure torch: from feature pyramids to losses or detections, without access to files."""
