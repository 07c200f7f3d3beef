"""The classes of data sets: one numbering over several, their frequencies, and vectors by name."""
