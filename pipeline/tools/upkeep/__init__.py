"""`fdet cache ...`: commands that inspect, check, compare, convert, copy and delete existing caches."""
