"""Conversion of PyTorch files to ONNX, by scripts that run in a Python with torch: another process, perhaps
another installation. Torch is never imported here, and the scripts import nothing of segbatch.

===========================  ==========================================================
``process``                  runs a script, and gives its answer or its error in one line
``safe_archive``             what a file is, and a copy of what is harmless in it
``safe_program``             what a program in it may call
``run_script``               what runs there: calls a script and prints what it answers
``torchscript_script``       TorchScript, ``.pt2`` and pickled checkpoints
``nnunet_script``            networks of nnU-Net, from their plans and checkpoints
===========================  ==========================================================
"""
