//! The networks, number for number, against fixtures made by the libraries that they follow.

mod autoencoders;
mod clip_text;
mod fixture;
mod inception_v3;
mod mobilenet_v2;
mod open_clip;
mod unet;
mod vit;
