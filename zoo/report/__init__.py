"""What a run shows: text, figures, one page."""
