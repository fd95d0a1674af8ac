"""Builders for TensorFlow Datasets, each in a folder as `tfds new` makes it.

With tensorflow installed, which the command line of tfds imports:

    tfds build r1_onevision --imports=onevision_jax.data.tfds_builder.r1_onevision \\
        --manual_dir=data/r1 --file_format=array_record --config=pictures

and without, the same files by `onevision data tfds data/r1`. The manual folder is what
`onevision data build` wrote. Then `tfds.data_source("r1_onevision/pictures", split="train")`,
`--source tfds:r1_onevision:train` and the like read it.
"""
