"""Arrays in, matplotlib figures out; nothing is saved here."""
