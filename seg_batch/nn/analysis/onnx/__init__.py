"""ONNX files of others: what they hold, read without computing anything with them.

==============  ==================================================================
``describe``    tensors, opset, operators and external data of a file, by its protobuf
``network``     one input and one output of it as a network of patches: sides, costs
``dependence``  what one output voxel depends on: global layers, the receptive field
==============  ==================================================================
"""
