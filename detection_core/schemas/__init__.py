"""What crosses a border: specs in, events and results out. Versioned, validated, no torch."""
