"""The networks, one file each: layers, wiring, configuration; ``registry`` has all of them by name.

===================  ================================================================
``blocks``           the pieces of ANU-Net: conv unit, shared up-sampling, attention gate
``anunet``           their wiring, its configuration
``unets``            U-Net, U-Net++, attention U-Net, of the same blocks
``config``           what any of them is built from
``channel_fitting``  a kernel for other channels than it was trained on
===================  ================================================================

The others are of other descent. Layers are functions that compose stock Keras layers, so a saved model
contains no class of ours. Names of layers follow `blocks`: ``x_2_0_...`` is level 2 of the encoder,
``x_2_1_...`` of the decoder, ``head_...`` the output; what needs other names says so to `registry`.
"""
