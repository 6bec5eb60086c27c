"""Parts that detector families share: backbones, decode and NMS."""
