"""Serial MRI of stroke: registration to MNI, infarct segmentation and volume, report."""

__version__ = "0.1.0"
