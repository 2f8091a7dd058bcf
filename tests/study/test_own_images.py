"""Settings that suit the number of one's own images: enough updates for few images, no more epochs than needed for many."""

import math

import pytest

from minihire.study.own_images import ADAPTED, adapt, epochs, in_words
from minihire.study.settings import preset


@pytest.mark.parametrize("images", [1, 2, 5, 20, 72, 160, 720, 4000, 50_000])
def test_every_number_of_images_gets_enough_updates_in_batches_that_it_fills(images):
    config = adapt(preset("folder"), images)
    assert 8 <= config.batch_size <= 32 and 8 <= config.ann_batch_size <= 64
    assert config.ann_batch_size <= max(8, images)
    assert config.ann_epochs * math.ceil(images / config.ann_batch_size) >= 750
    assert config.snn_epochs * math.ceil(images / config.batch_size) >= 300
    assert config.ann_epochs >= 10 and config.snn_epochs >= 4


def test_more_images_need_fewer_epochs_and_larger_batches():
    few, many = (adapt(preset("folder"), images) for images in (72, 8000))
    assert (few.ann_epochs, few.snn_epochs, many.ann_epochs, many.snn_epochs) == (150, 60, 10, 4)
    assert (few.ann_batch_size, few.ann_learning_rate) == (16, 0.02)
    assert (many.ann_batch_size, many.ann_learning_rate) == (64, 0.04)
    assert adapt(preset("folder"), 3).ann_learning_rate == 0.00375  # of batches of 3 images; 0.014 diverged


def test_flags_stay_as_given_and_decide_the_rest():
    config = adapt(preset("folder", ann_batch_size=4, snn_epochs=2), 72, ("ann_batch_size", "snn_epochs"))
    assert (config.ann_batch_size, config.snn_epochs) == (4, 2)
    assert config.ann_epochs == epochs(750, 72, 4, 10) == 42


def test_other_presets_and_settings_are_not_adapted():
    assert adapt(preset("mini"), 72) == preset("mini")
    before, after = preset("folder").describe(), adapt(preset("folder"), 72).describe()
    assert {name for name in before if before[name] != after[name]} <= set(ADAPTED)


def test_the_settings_in_words():
    assert in_words(adapt(preset("folder"), 72), 72) == (
        "settings for 72 training images: ANN 150 epochs, batches of 16, learning rate 0.02; "
        "SNN 60 epochs, batches of 16, learning rate 0.001"
    )
