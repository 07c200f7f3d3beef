"""fdet cache ...: what one does with a cache that is there: look, check, compare, convert, delete."""
