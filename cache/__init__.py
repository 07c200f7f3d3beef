"""What a cached feature is, how it reaches the disk and comes back. Knows no detection, no model."""
