"""When Auto-PGD and SA-PGD may halve their step (Croce & Hein, ICML 2020)."""

FEW = 0.75  # Auto-PGD halves the step of an image if at most this share of its steps raised the loss


def checks(iterations: int) -> dict[int, int]:
    """{number of steps made: steps since the check before}: all checks of an attack.

    The first check comes after 22 % of the steps. Each period is 3 % of the steps shorter than the one before, but at least 6 %.

    >>> from minihire.attacks.schedule import checks
    >>> list(checks(100))
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    period, shortest, less = (max(int(share * iterations), 1) for share in (0.22, 0.06, 0.03))
    found, made = {}, period
    while made <= iterations:
        found[made] = period
        period = max(period - less, shortest)
        made += period
    return found
