"""What a study runs: its jobs, what each waits for and asks for, and where everything lies."""
