"""Pure torch: feature pyramid -> losses or detections. Knows no file."""
