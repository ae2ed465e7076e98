//! The networks: UNet2DCondition, autoencoders, CLIP, ViT, MobileNetV2, InceptionV3.
