"""Pages of jobs: read (pages), queued (submit, imports), acted on (acts), watched live (watch)."""
