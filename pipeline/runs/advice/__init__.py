"""What to do next with a run: the rules, and the facts that they go by. Nothing here imports torch."""
