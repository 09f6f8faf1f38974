"""Networks of other descent than ANU-Net, one file each: its layers, its wiring, its configuration.

Layers are functions that compose stock Keras layers, so a saved model contains no class of ours.
Names of layers follow `blocks`: ``x_2_0_...`` is level 2 of the encoder, ``x_2_1_...`` of the decoder,
``head_...`` the output; what needs other names says so to `zoo`.
"""
