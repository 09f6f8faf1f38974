"""The networks, one file each with configuration and blocks; ``registry`` has them all by name.

===================  ================================================================
``blocks``           the pieces of ANU-Net: conv unit, shared up-sampling, attention gate
``anunet``           their wiring, its configuration
``unets``            U-Net, U-Net++, attention U-Net, of the same blocks
``config``           the configuration that they share
``channel_fitting``  a kernel for other channels than it was trained on
===================  ================================================================

Blocks are functions that compose stock Keras layers, so a saved model holds no custom class. Names
of layers follow `blocks`: ``x_2_0_...`` is level 2 of the encoder, ``x_2_1_...`` of the decoder,
``head_...`` the output; `registry` lists the other names that a network uses.
"""
