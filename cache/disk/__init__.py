"""Files of a file system and objects of a store: safe to write, hostile to read."""
