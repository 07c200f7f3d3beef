"""COCO and LVIS JSON, read and checked field by field."""
