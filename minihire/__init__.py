"""minihire: HIRE-SNN (Kundu, Pedram and Beerel, ICCV 2021) from first principles."""

__version__ = "0.1.0"
