"""Training of small BigGANs by regression: each condition has one target picture. Reading pictures, targets, network,
the loop, and the weights that films are drawn with. Used by `musicvideo generator` and by training/pocket."""
