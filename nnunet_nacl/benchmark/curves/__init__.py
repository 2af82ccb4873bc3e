"""What trainings logged: read, judged, written."""
