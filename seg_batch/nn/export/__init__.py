"""Models in the formats of other runtimes: written by one process, read back by another.

Importing this package costs nothing. Each format has a module with two functions, both called in
fresh processes (``subprocess_run``): ``write(order, folder) -> facts`` and ``read(path) -> Exported``.

==================  =================================================================
``formats``         the formats by name, what each needs, and how exact it has to be
``job``             what a writer is given, what a reader gives back
``subprocess_run``  a function in a process of its own: write, read back, predict
``saved_graph``     the SavedModel that four of the formats are made from
``planar``          3-D pooling by 2-D pooling, for runtimes that have no other
``savedmodel``      TensorFlow Serving
``tflite``          LiteRT, in float32, float16, dynamic and int8
``onnx``            ONNX, for onnxruntime and TensorRT
``openvino``        OpenVINO IR, also quantised to int8: a bundle of its own
``keras_file``      Keras' own format, and HDF5
==================  =================================================================
"""
