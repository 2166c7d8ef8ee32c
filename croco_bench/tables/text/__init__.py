"""Sheets of words and numbers as text: for a terminal, in Markdown, in LaTeX. Knows nothing of results."""
