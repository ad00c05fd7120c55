"""What is seen of a run while it trains: its log, previews, evaluations and their verdict; and what it leaves."""
