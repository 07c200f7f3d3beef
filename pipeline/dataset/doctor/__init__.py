"""`fdet dataset check`: what is wrong with a data set, how much of it, and what to do."""
