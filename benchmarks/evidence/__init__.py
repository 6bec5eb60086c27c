"""Evidence: tables that jobs of a running site made, with the command that makes them again."""
