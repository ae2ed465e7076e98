//! The networks, number for number, against fixtures made by the libraries that they follow.

mod clip_text;
mod fixture;
mod mobilenet_v2;
mod unet;
