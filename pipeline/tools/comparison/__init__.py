"""fdet compare: the same configuration trained from several sources, and what each source costs."""
