"""What the graph of a network tells, without running it on data.

=====================  ===============================================================
``graph``              the layers of a model as a graph
``receptive_field``    how far a network sees
``global_layers``      layers that see the whole patch
``flops``              bytes and operations of one forward pass, from layer shapes alone
``batchnorm_folding``  batch normalisation folded into the convolutions before it
``patch_shapes``       the patches that a model takes
=====================  ===============================================================
"""
