"""What training and attacks need from the program: progress, interrupts, atomic files, errors."""
