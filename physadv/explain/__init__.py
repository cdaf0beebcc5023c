"""What a detector looks at: maps of one person's score, checks of those maps, and what a layer answers to."""
