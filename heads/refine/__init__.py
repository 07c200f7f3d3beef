"""The refiner: stages that correct the boxes of a frozen detector (RefineBox, arXiv 2307.11828)."""
