"""Services for training and attacks: progress, interrupts, atomic files, errors."""
