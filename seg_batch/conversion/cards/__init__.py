"""The cards of other worlds: STAC MLM items, bioimage.io descriptions and MONAI bundles, read as cards of ours and
written beside exports."""
