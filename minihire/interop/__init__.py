"""minihire beside other libraries: its networks in their formats."""
