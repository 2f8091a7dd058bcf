"""Settings, presets, and the networks and attack results made from them."""
