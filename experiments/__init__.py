"""Programs: absl flags -> a frozen configuration -> zoo."""
