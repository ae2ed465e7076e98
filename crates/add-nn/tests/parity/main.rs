//! The networks, number for number, against fixtures made by the libraries that they follow.

mod fixture;
mod unet;
