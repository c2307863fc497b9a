"""Speed, measured side by side with the peers' own way, as ratios."""
