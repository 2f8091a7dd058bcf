"""An estimate of the time left in a suite."""

from collections.abc import Iterable

from minihire.attacks.gradient import Attack
from minihire.runtime.progress import duration

SHORTEST = 0.05  # seconds; an attack that took less was read from the state, or is too short to measure


class Pace:
    """The time per gradient evaluation of one image, measured on the attacks that this call ran.

    classes: number of classes of the network. images: number of images that the attacks after the cascade run on.
    """

    def __init__(self, classes: int, images: int):
        self.classes, self.images = classes, images
        # Seconds per gradient evaluation in the last attack; None if it was not measured.
        self.last: float | None = None
        self._seconds = self._work = 0.0

    def work(self, attacks: Iterable[Attack], images: int) -> float:
        """The work of these attacks in gradient evaluations."""
        return images * sum(attack.cost(self.classes).work for attack in attacks)

    def add(self, attack: Attack, images: int, seconds: float) -> None:
        """Record the time of an attack that has run on so many images."""
        work, self.last = self.work([attack], images), None
        if work and seconds > SHORTEST:
            self.last = seconds / work
            self._seconds, self._work = self._seconds + seconds, self._work + work

    def left(self, cascade: Iterable[Attack] = (), survivors: int = 0, probes: Iterable[Attack] = ()) -> str:
        """The end of a progress line: "; at most 3 min left". It is empty if the last attack was not measured.

        cascade: the attacks to come, on at most `survivors` images. probes: the attacks after the cascade. Probes run on
        many images, which takes less time per image, so the faster of the last and the mean pace is used for them.
        """
        if self.last is None:
            return ""
        mean = self._seconds / self._work
        seconds = self.work(cascade, survivors) * self.last + self.work(probes, self.images) * min(self.last, mean)
        return f"; at most {duration(seconds)} left"
