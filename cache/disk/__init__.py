"""Files on a file system and objects in a store, which are written safely and read without trust."""
