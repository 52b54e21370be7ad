"""LS-ViT: the network, its configuration, its pretrained weights."""
