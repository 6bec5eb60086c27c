"""Forms that queue jobs. Each one turns what a person chose into planned jobs; nothing is written here."""
