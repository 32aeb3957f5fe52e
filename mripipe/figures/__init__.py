"""Arrays in, pictures out as SVG text or matplotlib figures; nothing is saved here."""
