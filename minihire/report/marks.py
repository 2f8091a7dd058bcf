"""The colour and the marker of each network, in figures and pages: both differ, so that colour alone never identifies one."""

# The palette of Okabe and Ito, which people with colour vision deficiency can distinguish.
COLOURS = {
    "ann": "#000000",
    "converted": "#999999",
    "traditional": "#0072B2",
    "control": "#56B4E9",
    "gaussian": "#E69F00",
    "hire": "#D55E00",
    "hire-4x": "#8B1E3F",
    "adversarial": "#009E73",
    "adversarial-ann": "#5C4B8A",  # the palette's yellow is not visible on a white page
}
# Black, dark red and violet are not visible on a dark page.
COLOURS_ON_DARK = {
    "ann": "#f4f4f2",
    "hire-4x": "#f08ba5",
    "adversarial-ann": "#b3a4dc",
}
OTHER_COLOUR = "#cc79a7"  # networks that this version does not know
# Matplotlib's names of the markers.
MARKERS = {
    "ann": "o",
    "converted": "s",
    "traditional": "^",
    "control": "v",
    "gaussian": "P",
    "hire": "D",
    "hire-4x": "h",
    "adversarial": "p",
    "adversarial-ann": "*",
}
OTHER_MARKER = "X"
SHAPES = {  # the same markers as SVG paths
    "ann": "M0-4.2A4.2 4.2 0 1 0 0 4.2A4.2 4.2 0 1 0 0-4.2Z",  # disc
    "converted": "M-3.8-3.8H3.8V3.8H-3.8Z",  # square
    "traditional": "M0-4.8L4.8 3.8H-4.8Z",  # triangle
    "control": "M0 4.8L4.8-3.8H-4.8Z",  # triangle on its tip
    "gaussian": "M-1.6-4.8H1.6V-1.6H4.8V1.6H1.6V4.8H-1.6V1.6H-4.8V-1.6H-1.6Z",  # plus
    "hire": "M0-5.4L5.4 0L0 5.4L-5.4 0Z",  # diamond
    "hire-4x": "M0-5L4.3-2.5V2.5L0 5L-4.3 2.5V-2.5Z",  # hexagon
    "adversarial": "M0-4.8L4.6-1.5L2.8 3.9H-2.8L-4.6-1.5Z",  # pentagon
    "adversarial-ann": "M0-5.4L1.3-1.8L5.1-1.7L2.1 .7L3.2 4.4L0 2.2L-3.2 4.4L-2.1 .7L-5.1-1.7L-1.3-1.8Z",  # star
}
OTHER_SHAPE = (
    "M-4.6-2.4L-2.4-4.6L0-2.2L2.4-4.6L4.6-2.4L2.2 0L4.6 2.4L2.4 4.6L0 2.2L-2.4 4.6L-4.6 2.4L-2.2 0Z"  # saltire
)
