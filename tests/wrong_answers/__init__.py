"""Usual wrong answers to the exercises, one module for each notebook: of each, code in place of the solution, and words of what is told."""
