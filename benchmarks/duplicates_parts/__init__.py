"""What stands beside ours in the benchmark of copies."""
