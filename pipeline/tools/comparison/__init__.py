"""fdet compare: the same configuration trained from several sources, and what each of them costs."""
