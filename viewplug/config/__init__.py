"""What a config says, and says wrongly: its keys read, changed and checked before anything is built."""
